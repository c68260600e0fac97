"""Commands on DynamoDB itself: ``lpcm table create|show|template`` and ``lpcm iam``."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lpcm import config, dynamodb
from lpcm.cli.words import pass_session, progress
from lpcm.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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


def _table_options(command: F) -> F:
    """Give a command the options that a table is made by."""
    for option in (
        click.option("--recovery", is_flag=True, help="With point-in-time recovery."),
        click.option("--write", type=UNITS, metavar="N", help="And so many write units."),
        click.option(
            "--read",
            type=UNITS,
            metavar="N",
            help="Provision so many read units a second; default: billed on demand.",
        ),
    ):
        command = option(command)
    return command


def _capacity(read: int | None, write: int | None) -> tuple[int, int] | None:
    if read is None and write is None:
        return None
    if read is None or write is None:
        raise click.UsageError("--read and --write go together")
    return read, write


@table.command()
@_table_options
@click.option(
    "--within",
    type=click.FloatRange(min=0, min_open=True),
    default=120.0,
    show_default=True,
    metavar="SECONDS",
    help="How long it may take to be ready.",
)
@pass_session
def create(
    session: Session, read: int | None, write: int | None, within: float, *, recovery: bool
) -> None:
    """Make the table of the URL, wait until it is ready, and have what expires deleted.

    A table that is there stays as it is, but for its TTL, and its recovery if asked for.
    """
    settings = _settings(session)
    capacity = _capacity(read, write)
    with progress(f"creating {settings.path}"):
        made = dynamodb.create_table(settings, capacity=capacity, recovery=recovery, within=within)
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
        shown = found._asdict() | {
            "keys": ", ".join(found.keys),
            "items": f"about {found.items:,}",
            "size": f"about {found.size:,} bytes",
        }
        del shown["ours"]
        for name, value in shown.items():
            click.echo(f"{name:9} {printable(str(value))}")
    wrong = [] if found.ours else ["its keys are not those of lpcm"]
    if found.ttl != dynamodb.TTL:
        wrong.append(f"nothing is deleted by {dynamodb.TTL!r}: `lpcm table create` turns that on")
    if wrong:
        click.echo(f"lpcm: {settings.path}: {'; '.join(wrong)}", err=True)
        sys.exit(1)


@table.command()
@click.option("--format", "name", type=click.Choice(sorted(dynamodb.FORMATS)), required=True)
@_table_options
@pass_session
def template(
    session: Session, name: str, read: int | None, write: int | None, *, recovery: bool
) -> None:
    """Write the table of the URL for another tool; asks nobody.

    json: the requests for `aws dynamodb NAME --cli-input-json`; cdk: in Python.
    """
    path = _settings(session).path
    if path.startswith("arn:"):
        raise click.UsageError("a table that is to be made has a name, not an ARN")
    click.echo(dynamodb.template(name, path, capacity=_capacity(read, write), recovery=recovery))


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
