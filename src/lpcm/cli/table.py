"""Commands on DynamoDB itself: ``lpcm table create|show|check|template`` and ``lpcm iam``."""

from __future__ import annotations

import json
import os
import sys
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lpcm import config, dynamodb
from lpcm.cli.doctor import show_findings
from lpcm.cli.words import pass_session, progress
from lpcm.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from lpcm.cli import Session

__all__ = ["iam", "table"]

F = TypeVar("F", bound="Callable[..., Any]")

UNITS = click.IntRange(min=1)


def _settings(session: Session) -> config.Config:
    """Return the table's URL, taken apart."""
    settings = session.settings()
    if settings.scheme != "dynamodb":
        raise click.UsageError(
            f"a table is DynamoDB's, and {settings.location} is not: put --url "
            "'dynamodb://TABLE?region=REGION' before the command, or set LPCM_URL"
        )
    return settings


@click.group()
def table() -> None:
    """Make a table for maps, look at it, or write it down for another tool."""


def _pair(*names: str, help: str) -> Callable[[F], F]:  # click's word
    """Return an option of read and write units."""
    return click.option(*names, type=UNITS, nargs=2, metavar="READ WRITE", help=help)


_OPTIONS = (
    click.option(
        "--read",
        type=UNITS,
        metavar="N",
        help="Provision so many read units a second; default: billed on demand.",
    ),
    click.option("--write", type=UNITS, metavar="N", help="And so many write units."),
    _pair("--scale-to", help="Let auto scaling provision up to so many."),
    _pair("--most", help="Serve at most so many units a second on demand."),
    _pair("--warm", help="Be ready for so many units a second from the beginning."),
    click.option("--recovery", is_flag=True, help="With point-in-time recovery."),
    click.option("--protected", is_flag=True, help="Refuse to be deleted."),
    click.option("--kms-key", metavar="KEY", help="Encrypt with this KMS key: an ARN or alias."),
    click.option("--infrequent", is_flag=True, help="Of the class for infrequent access."),
    click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="Tag it."),
)


def _with_design(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that a table is made by, as its argument ``design``."""

    @wraps(command)
    def designed(*args: Any, **given: Any) -> None:
        chosen = {name: given.pop(name) for name in _NAMES}
        command(*args, design=_design(**chosen), **given)

    for option in reversed(_OPTIONS):
        designed = option(designed)
    return designed


_NAMES = (
    "read", "write", "scale_to", "most", "warm", "recovery", "protected", "kms_key", "infrequent",
    "tags",
)  # fmt: skip


def _design(
    read: int | None, write: int | None, tags: Sequence[str], **chosen: Any
) -> dynamodb.Design:
    if (read is None) != (write is None):
        raise click.UsageError("--read and --write go together")
    capacity = None if read is None or write is None else (read, write)
    pairs = [tag.partition("=") for tag in tags]
    if wrong := [tag for tag, (_, equals, _) in zip(tags, pairs, strict=True) if not equals]:
        raise click.UsageError(f"--tag {wrong[0]}: write KEY=VALUE")
    named = tuple((key, value) for key, _, value in pairs)
    try:
        return dynamodb.Design(capacity=capacity, tags=named, **chosen).check()
    except ValueError as error:
        raise click.UsageError(str(error)) from error


@table.command()
@_with_design
@click.option(
    "--within",
    type=click.FloatRange(min=0, min_open=True),
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="How long it may take to be ready.",
)
@pass_session
def create(session: Session, within: float, *, design: dynamodb.Design) -> None:
    """Make the table of the URL, wait until it is ready, and have what expires deleted.

    A table that is there stays as it is, but for its TTL, and its recovery, tags and auto scaling
    if asked for: `lpcm table check` says what of it is not as recommended.
    """
    settings = _settings(session)
    try:
        with progress(f"creating {settings.path}"):
            made = dynamodb.create_table(settings, design, within=within)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if session.json:
        click.echo(json.dumps({"table": settings.path, "created": made}))
    else:
        click.echo(f"{settings.path}: {'created' if made else 'was there'}, and ready")


@table.command()
@pass_session
def show(session: Session) -> None:
    """Show what the table is; exit with 1 where it is not as maps need it."""
    settings = _settings(session)
    found = dynamodb.describe_table(settings)
    if session.json:
        click.echo(json.dumps(found._asdict()))
    else:
        for name, value in _shown(found):
            click.echo(f"{name:12} {printable(str(value))}")
    wrong = [] if found.ours else ["its keys are not those of lpcm"]
    if found.ttl != dynamodb.TTL:
        wrong.append(f"nothing is deleted by {dynamodb.TTL!r}: `lpcm table create` turns that on")
    if wrong:
        click.echo(f"lpcm: {settings.path}: {'; '.join(wrong)}", err=True)
        sys.exit(1)


def _shown(found: dynamodb.Table) -> Iterator[tuple[str, object]]:
    """Yield what is shown of a table: what it has not is left out."""
    tags = None if found.tags is None else ", ".join(f"{key}={value}" for key, value in found.tags)
    shown = found._asdict() | {
        "keys": ", ".join(found.keys),
        "items": f"about {found.items:,}",
        "size": f"about {found.size:,} bytes",
        "protected": "yes" if found.protected else "no",
        "replicas": ", ".join(found.replicas),
        "tags": "unknown" if tags is None else tags,
    }
    del shown["ours"]
    for name, value in shown.items():
        if value != "":
            yield ("class" if name == "table_class" else name), value


@table.command()
@pass_session
def check(session: Session) -> None:
    """Compare the table with what is recommended; exit with 1 where something is wrong."""
    show_findings(session, dynamodb.check_table(_settings(session)))


@table.command()
@click.option("--format", "name", type=click.Choice(sorted(dynamodb.FORMATS)), required=True)
@_with_design
@pass_session
def template(session: Session, name: str, *, design: dynamodb.Design) -> None:
    """Write the table of the URL for another tool; asks nobody.

    json: the requests for `aws dynamodb NAME --cli-input-json`; cdk: in Python.
    """
    path = _settings(session).path
    if path.startswith("arn:"):
        raise click.UsageError("a table that is to be made has a name, not an ARN")
    try:
        click.echo(dynamodb.template(name, path, design))
    except ValueError as error:
        raise click.UsageError(str(error)) from error


@click.command()
@click.option("--map", "-m", "maps", multiple=True, metavar="NAME", help="For this map alone.")
@click.option("--read-only", is_flag=True, help="Leave out what writes.")
@click.option(
    "--registered",
    is_flag=True,
    help="The maps have been written before: leave out what enters them into the catalogue.",
)
@click.option("--administer", is_flag=True, help="For `lpcm table create` and `show` instead.")
@click.option("--account", metavar="ID", default="*", help="The table's account; default: any.")
@click.option("--why", is_flag=True, help="Say what each action is for, instead of the policy.")
@pass_session
def iam(
    session: Session,
    maps: tuple[str, ...],
    account: str,
    *,
    read_only: bool,
    registered: bool,
    administer: bool,
    why: bool,
) -> None:
    """Write the IAM policy that using the table of the URL needs; asks nobody.

    For the whole table, or where a namespace is named, or maps, for those alone.
    """
    if administer and (maps or read_only or registered):
        raise click.UsageError("--administer stands alone")
    if registered and not maps:
        raise click.UsageError("--registered goes with --map")
    settings = _settings(session)
    if why:
        _explain(session, read_only=read_only, administer=administer)
        return
    named = os.environ.get("LPCM_NAMESPACE")
    if named is None and (maps or settings.namespace != config.DEFAULT_NAMESPACE):
        named = settings.namespace
    region = str(dict(settings.store_options).get("region", "*"))
    made = dynamodb.policy(
        dynamodb.arn(settings.path, region, account),
        namespace=named,
        maps=maps,
        read_only=read_only,
        registered=registered,
        administration=administer,
    )
    click.echo(json.dumps(made, indent=2))


def _explain(session: Session, *, read_only: bool, administer: bool) -> None:
    reasons: Mapping[str, str] = dynamodb.READS if read_only else dynamodb.READS | dynamodb.WRITES
    if administer:
        reasons = dynamodb.ADMINISTRATION
    for action, reason in sorted(reasons.items()):
        if session.json:
            click.echo(json.dumps({"action": f"dynamodb:{action}", "why": reason}))
        else:
            click.echo(f"dynamodb:{action:26} {reason}")
