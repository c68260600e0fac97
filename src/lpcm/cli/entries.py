"""Commands on single entries and on what a map holds: get, set, del, incr, keys, items, count."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lpcm.cli.words import Worded, key_option, map_names, parse, pass_session, shown, text_option
from lpcm.errors import ValueEncodingError
from lpcm.text import printable, to_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from lpcm.cli import Session

F = TypeVar("F", bound="Callable[..., Any]")

__all__ = ["count", "delete", "get", "increment", "items", "keys", "maps", "set_"]


def _say(session: Session, result: object, /, **fields: object) -> None:
    """Write a result: alone, or among its fields for programs."""
    if session.json:
        members = ",".join(f"{json.dumps(name)}:{shown(field)}" for name, field in fields.items())
        click.echo(f"{{{members}}}")
    else:
        click.echo(shown(result))


@click.command(cls=Worded)
@click.argument("map", shell_complete=map_names)
@click.argument("key")
@click.option("--default", metavar="VALUE", help="What to print for a key that is not there.")
@click.option("--raw", is_flag=True, help="Write text and bytes as they are, and no newline.")
@text_option
@pass_session
def get(
    session: Session, map: str, key: str, default: str | None, *, raw: bool, text: bool
) -> None:
    """Print the value of KEY in MAP, as JSON; exit with 1 if it is not there."""
    if raw and session.json:
        raise click.UsageError("--raw writes no JSON: give --raw or --json")
    wanted = parse(key, text=text)
    found = session.read(map)
    try:
        entry = found.entry(wanted)
    except KeyError:
        if default is None:
            raise
        value = parse(default, text=text)
        fields: dict[str, object] = {}
    else:
        value = entry.value
        # Programs read numbers of JSON as floats, which have no room for an etag.
        fields = {"etag": str(entry.etag), "expires": entry.expires}
    if raw:
        _write(value if isinstance(value, (str, bytes)) else to_json(value))
    else:
        _say(session, value, key=wanted, value=value, **fields)


def _write(value: str | bytes) -> None:
    """Write text and bytes as they are, but to a terminal nothing that could drive it."""
    if sys.stdout.isatty():
        text = value if isinstance(value, str) else value.decode(errors="backslashreplace")
        click.echo("\n".join(map(printable, text.split("\n"))))
        return
    sys.stdout.buffer.write(value.encode() if isinstance(value, str) else value)
    sys.stdout.buffer.flush()


def _standard_input() -> str:
    """Return the text of the standard input, its line ends as they are."""
    data = sys.stdin.buffer.read()
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ValueEncodingError(
            f"the standard input is not UTF-8: byte 0x{data[error.start]:02x} at offset "
            f'{error.start}; bytes are stored as {{"!bytes": BASE64}}; nothing was written'
        ) from None


@click.command(name="set", cls=Worded)
@click.argument("map", shell_complete=map_names)
@click.argument("key")
@click.argument("value")
@click.option("--ttl", type=float, metavar="SECONDS", help="Expire after so long.")
@text_option
@pass_session
def set_(
    session: Session, map: str, key: str, value: str, ttl: float | None, *, text: bool
) -> None:
    """Store VALUE under KEY in MAP; VALUE - is read from the standard input."""
    if value == "-":
        value = _standard_input()
        if not text:
            value = value.removesuffix("\n")  # as a shell does with what a command says
    session.map(map).set(parse(key, text=text), parse(value, text=text), ttl=ttl)


@click.command(name="del", cls=Worded)
@click.argument("map", shell_complete=map_names)
@click.argument("keys", nargs=-1, required=True)
@click.option("--force", "-f", is_flag=True, help="Say nothing of a key that is not there.")
@text_option
@pass_session
def delete(session: Session, map: str, keys: tuple[str, ...], *, force: bool, text: bool) -> None:
    """Remove KEYS from MAP; exit with 1 at the first that is not there."""
    held = session.map(map)
    wanted = [parse(key, text=text) for key in keys]
    if force:
        held.delete_many(wanted)
        return
    for key in wanted:
        del held[key]


@click.command(name="incr", cls=Worded)
@click.argument("map", shell_complete=map_names)
@click.argument("key")
@click.argument("delta", default="1")
@text_option
@pass_session
def increment(session: Session, map: str, key: str, delta: str, *, text: bool) -> None:
    """Add DELTA (1) to the number under KEY in MAP, atomically; print the sum.

    A key that is not there counts as 0. A Decimal is {"!decimal": "0.1"}.
    """
    wanted = parse(key, text=text)
    total = session.map(map).increment(wanted, parse(delta, text=False))
    _say(session, total, key=wanted, value=total)


def _part_options(command: F) -> F:
    """Give a command the options that choose part of a map."""
    for option in (
        key_option("--stop", "Those before KEY."),
        key_option("--start", "From KEY on."),
        key_option("--prefix", "Those that begin with it."),
    ):
        command = option(command)
    return command


def _walk_options(command: F) -> F:
    """Give a command the options of how a map is walked."""
    limit = click.option("--limit", type=click.IntRange(min=0), metavar="N", help="At most N.")
    reverse = click.option("--reverse", is_flag=True, help="From the last one back.")
    return _part_options(reverse(limit(command)))


def _part(
    prefix: str | None, start: str | None, stop: str | None, *, text: bool, reverse: bool = False
) -> dict[str, Any]:
    names = {"prefix": prefix, "start": start, "stop": stop}
    part: dict[str, Any] = {
        name: parse(key, text=text) for name, key in names.items() if key is not None
    }
    return {**part, "reverse": reverse}


@click.command()
@click.argument("map", shell_complete=map_names)
@_walk_options
@text_option
@pass_session
def keys(session: Session, map: str, limit: int | None, **part: Any) -> None:
    """Print the keys of MAP in their order, one a line."""
    for key in session.read(map).keys(**_part(**part), limit=limit):
        _say(session, key, key=key)


@click.command()
@click.argument("map", shell_complete=map_names)
@_walk_options
@text_option
@pass_session
def items(session: Session, map: str, limit: int | None, **part: Any) -> None:
    """Print the entries of MAP in key order, one a line: the key, a tab, the value."""
    for key, value in session.read(map).items(**_part(**part), limit=limit):
        if session.json:
            _say(session, None, key=key, value=value)
        else:
            click.echo(f"{shown(key)}\t{shown(value)}")


@click.command()
@click.argument("map", shell_complete=map_names)
@_part_options
@text_option
@pass_session
def count(session: Session, map: str, **part: Any) -> None:
    """Count the entries of MAP, or part of it; the store reads them all."""
    total = len(session.read(map).keys(**_part(**part)))
    _say(session, total, map=map, count=total)


@click.command()
@click.option("--count", "counted", is_flag=True, help="Count the entries of each, too.")
@pass_session
def maps(session: Session, *, counted: bool) -> None:
    """Print the names of the maps that have ever been written, one a line."""
    for name in session.maps():
        if not counted:
            _say(session, name, map=name)
            continue
        total = len(session.read(name))
        if session.json:
            _say(session, None, map=name, count=total)
        else:
            click.echo(f"{shown(name)}\t{total}")
