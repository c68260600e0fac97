"""Maps to JSON Lines and back: ``lpcm export`` and ``lpcm import``.

A line is one entry: ``{"map": ..., "key": ..., "value": ..., "expires": ...}``, keys and
values in the notation of ``lpcm.text``; ``expires``, in epoch seconds, only where the
entry has an end. Values of registered classes pass through as they are stored.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import contextmanager, nullcontext
from io import TextIOWrapper
from itertools import groupby
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import click

from lpcm import Entry
from lpcm.cli.spreading import spread, spreads
from lpcm.cli.words import (
    complain,
    key_option,
    map_names,
    parse,
    pass_session,
    progress,
    shown,
    text_option,
)
from lpcm.errors import (
    BatchError,
    CacheUnavailable,
    LPCMError,
    OutcomeUnknown,
    StoreError,
    ValueDecodingError,
    ValueEncodingError,
)
from lpcm.system.files import replacing
from lpcm.text import check_name, encode_key, from_json

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from lpcm.administration import Records
    from lpcm.cli import Session

__all__ = ["export", "import_"]

PAGE = 1000
WINDOW = 8000
"""Lines whose entries take turns, where the order of writes matters,"""
_MOST = 16_000_000
"""unless they have more characters than this,"""
_HEAVY = 64_000_000
"""or fewer lines than a page has have more than this: large values are not held by the thousand."""
MANY = 1000
"""Bad lines after which an import that keeps going gives up."""
_LAST = 1e15
"""Seconds after 1970 that nobody means; milliseconds that were given for seconds are below."""
_NOT_THE_LINE = (StoreError, CacheUnavailable, OutcomeUnknown)
"""Errors that another attempt may not meet."""


@click.command()
@click.argument("maps", nargs=-1, shell_complete=map_names)
@key_option("--prefix", "Of one map: entries whose keys begin with it.")
@click.option(
    "--output",
    "-o",
    metavar="FILE",
    type=click.Path(dir_okay=False, allow_dash=True),
    default="-",
    help="The file to write, replaced when all is written; default: the standard output.",
)
@click.option(
    "--keep-going",
    "-k",
    is_flag=True,
    help="Name each entry that cannot be read, write all others.",
)
@text_option
@pass_session
def export(
    session: Session,
    maps: tuple[str, ...],
    prefix: str | None,
    output: str,
    *,
    keep_going: bool,
    text: bool,
) -> None:
    """Write MAPS, or all, as JSON Lines: one entry a line, in key order.

    Not a snapshot: an entry that is there all the time is written exactly once. Stops at the
    first page with an entry that cannot be read, and names it, unless it is to keep going.
    """
    bad: list[str] = []
    if prefix is not None and len(maps) != 1:
        raise click.UsageError("--prefix goes with one map")
    start = None if prefix is None else parse(prefix, text=text)
    session.there("export")
    with (
        _output(output) as lines,
        # On a terminal the lines themselves show how it goes.
        nullcontext(_ignore) if lines.isatty() else progress("exporting") as advance,
    ):
        for name in maps or session.maps():
            head = f'{{"map":{shown(name)},"key":'
            # One page in hand, none kept open: the map may change meanwhile.
            for found, failed, _ in session.records(name).pages(prefix=start, limit=PAGE):
                for entry in found:
                    try:
                        lines.write(f"{head}{_text(entry)}}}\n")
                    except ValueEncodingError as error:  # text that is none, by other hands
                        failed[entry.key] = error
                if failed and not keep_going:
                    raise BatchError(failed)
                bad += [f"{name}: {shown(key)}: {error}" for key, error in failed.items()]
                advance(len(found))
    for each in bad:
        complain(session, "ValueDecodingError", each)
    if bad:
        sys.exit(3)


def _text(entry: Entry[Any]) -> str:
    end = "" if entry.expires is None else f',"expires":{entry.expires!r}'
    return f'{shown(entry.key)},"value":{shown(entry.value)}{end}'


@contextmanager
def _output(path: str) -> Generator[IO[str], None, None]:
    """Yield the file to write; what is there before stays until the new one is whole."""
    target = Path(path)
    if path == "-" or (target.exists() and not target.is_file()):  # a pipe, a device
        with click.open_file(path, "w", encoding="utf-8") as file:
            yield file
        return
    try:
        with (
            replacing(path, mode=0o666) as beside,
            Path(beside).open("w", encoding="utf-8") as file,
        ):
            yield file
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        if isinstance(error, LPCMError):
            raise
        raise click.UsageError(f"cannot write {path}: {error.strerror}") from error


def _ignore(_: int) -> None:
    pass


class _Line(NamedTuple):
    number: int
    size: int
    map: str
    entry: Entry[Any]


@click.command(name="import")
@click.argument(
    "file", type=click.File("r", encoding="utf-8", errors="surrogateescape"), default="-"
)
@click.option("--map", "-m", "target", metavar="NAME", help="Put all entries into this map.")
@click.option("--dry-run", is_flag=True, help="Check every line, write nothing.")
@click.option(
    "--keep-going", "-k", is_flag=True, help="Name each line that cannot be used, store all others."
)
@click.option(
    "--shards",
    type=int,
    metavar="N",
    help="Spread maps that are not there yet over so many partitions of DynamoDB.",
)
@pass_session
def import_(
    session: Session,
    file: IO[str],
    target: str | None,
    *,
    dry_run: bool,
    keep_going: bool,
    shards: int | None,
) -> None:
    """Store the entries of FILE (default: the standard input), written by export.

    What is under the same keys is replaced; other entries stay; entries that have expired
    since are left out. Importing a file again changes nothing, so a broken-off import is
    simply started again. Stops at the first line that cannot be used, with its number,
    unless it is to keep going.
    """
    if isinstance(file, TextIOWrapper):
        file.reconfigure(newline="\n")  # a carriage return ends no line: their numbers are said
    stored = expired = 0
    bad: list[str] | None = [] if keep_going else None
    spreading = spreads(session.settings())
    try:
        with progress("importing") as advance:
            for chunk in _chunks(_parsed(file, target, bad), WINDOW if spreading else PAGE):
                now = time.time()
                fresh = [each for each in chunk if _lives(each.entry, now)]
                expired += len(chunk) - len(fresh)
                for name, group in groupby(fresh, key=lambda each: each.map):
                    lines = list(group)
                    records = session.records(name, shards=shards)
                    failed = 0 if dry_run else _store(records, lines, bad, spreading=spreading)
                    stored += len(lines) - failed
                advance(len(chunk))
    except KeyboardInterrupt:
        known = "nothing was written" if dry_run else f"{stored:,} entries are known to be stored"
        complain(session, "KeyboardInterrupt", f"interrupted; {known}; import FILE again")
        raise
    finally:
        for each in bad or ():
            complain(session, "ValueDecodingError", each)
    _report(session, stored, expired, dry_run=dry_run)
    if bad:
        sys.exit(3)


def _chunks(lines: Iterator[_Line], most: int) -> Iterator[list[_Line]]:
    """Yield so many lines together; where one cannot be used, first those before it."""
    chunk: list[_Line] = []
    size = 0
    try:
        for line in lines:
            chunk.append(line)
            size += line.size
            if len(chunk) == most or size > (_MOST if len(chunk) >= PAGE else _HEAVY):
                yield chunk
                chunk, size = [], 0
    except ValueDecodingError:
        yield chunk
        raise
    yield chunk


def _store(records: Records, lines: list[_Line], bad: list[str] | None, *, spreading: bool) -> int:
    """Store the lines' entries; say in ``bad`` which could not be, or raise; return how many."""
    entries = {encode_key(each.entry.key): each.entry for each in lines}  # the last of equal keys
    try:
        records.restore(spread([*entries.values()]) if spreading else entries.values())
    except BatchError as batch:
        numbers = {encode_key(each.entry.key): each.number for each in lines}
        failed = {numbers[encode_key(key)]: error for key, error in batch.errors.items()}
        if bad is None or any(isinstance(error, _NOT_THE_LINE) for error in failed.values()):
            raise BatchError({f"line {at}": failed[at] for at in sorted(failed)}) from batch
        bad += [f"line {at}: {failed[at]}" for at in sorted(failed)]
        return len(failed)
    except ValueEncodingError as error:
        if len(lines) > 1:  # nothing is stored yet: store those before it
            half = len(lines) // 2
            return sum(
                _store(records, part, bad, spreading=spreading)
                for part in (lines[:half], lines[half:])
            )
        text = f"line {lines[0].number}: {error}"
        if bad is None:
            raise ValueEncodingError(text) from error
        bad.append(text)
        return 1
    return 0


def _report(session: Session, stored: int, expired: int, *, dry_run: bool) -> None:
    if session.json:
        click.echo(json.dumps({"stored": 0 if dry_run else stored, "expired": expired}))
        return
    left_out = f", {expired:,} had expired" if expired else ""
    verb = "would be stored" if dry_run else "stored"
    click.echo(f"{stored:,} {verb}{left_out}", err=not sys.stdout.isatty())


def _lives(entry: Entry[Any], now: float) -> bool:
    return entry.expires is None or entry.expires > now


def _parsed(lines: Iterable[str], target: str | None, bad: list[str] | None) -> Iterator[_Line]:
    for number, text in enumerate(lines, 1):
        if text.isspace():
            continue
        try:
            yield _line(number, text, target)
        except (LPCMError, TypeError, ValueError) as error:
            if bad is None:
                raise ValueDecodingError(f"line {number}: {error}") from error
            if len(bad) >= MANY:
                raise ValueDecodingError(
                    f"line {number}: so many lines cannot be used: is this an export?"
                ) from error
            bad.append(f"line {number}: {error}")


def _is_text(text: str) -> bool:
    """Tell whether a line was UTF-8: other bytes have become lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _line(number: int, text: str, target: str | None) -> _Line:
    if not _is_text(text):
        raise ValueError("not UTF-8")
    fields = from_json(text)
    if not isinstance(fields, dict) or not {"key", "value"} <= fields.keys():
        raise ValueError('not an entry: {"map": ..., "key": ..., "value": ...}')
    if unknown := fields.keys() - {"map", "key", "value", "expires"}:
        raise ValueError(f"unknown fields: {', '.join(sorted(map(str, unknown)))}")
    name = target or fields.get("map")
    if not isinstance(name, str):
        raise TypeError("no map: say which with --map")
    check_name(name)
    expires = fields.get("expires")
    if isinstance(expires, bool) or not isinstance(expires, (int, float, type(None))):
        raise TypeError(f"expires must be epoch seconds, not {expires!r}")
    if expires is not None and not -_LAST < expires < _LAST:
        raise ValueError("expires must be epoch seconds that a store can hold")
    encode_key(fields["key"])  # refuses what can be no key, while the line is known
    return _Line(number, len(text), name, Entry(fields["key"], fields["value"], 0, expires))
