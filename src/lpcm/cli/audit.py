"""``lpcm audit``: whether what the cache serves is what is stored.

Looks past the protocol at both, and changes nothing without ``--mend``. What differs may
be a write under way or a client that died in one: it counts only if it outlives the mark.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, NamedTuple

import click

from lpcm.administration import SETTLED, Records, is_cached
from lpcm.cli.words import map_names, pass_session
from lpcm.errors import ConfigError, ValueDecodingError
from lpcm.text import key_of, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lpcm.cli import Session
    from lpcm.ports import Stored

__all__ = ["audit"]

_PAGE = 500


class _Difference(NamedTuple):
    """An entry that is not what the cache would serve."""

    records: Records
    address: str
    cached: Stored | None
    stored: Stored | None

    def shown(self) -> dict[str, str]:
        """Return it in words."""
        return {
            "map": self.records.name,
            "key": printable(repr(key_of(self.address))),
            "cached": _words(self.records, self.cached),
            "stored": _words(self.records, self.stored),
        }


def _words(records: Records, entry: Stored | None) -> str:
    if entry is None:
        return "absent"
    try:
        text = records.form(entry) if records.in_parts(entry) else None
        text = text or printable(repr(records.value(entry)))
    except ValueDecodingError as error:
        text = printable(f"unreadable ({error})")
    return text if len(text) <= 60 else f"{text[:57]}..."


@click.command()
@click.argument("maps", nargs=-1, shell_complete=map_names)
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    help="At most so many entries of each map, from its beginning.",
)
@click.option("--mend", is_flag=True, help="Remove what differs from the cache.")
@pass_session
def audit(session: Session, /, maps: Sequence[str], *, sample: int, mend: bool) -> None:
    """Compare what the cache serves with the store; end with 1 where it stays different.

    Of all maps, or of those named. An entry written by other means than lpcm is found so. A
    difference is looked at once more after 11 seconds: then no write under way explains it.
    An entry that is not in the store any more is not looked for.

    Costs a read of each entry (strongly consistent) and a look at the cache; fills nothing.
    """
    engine = session.there("audit")
    if not is_cached(engine):
        raise ConfigError(f"{engine.location} has no cache to audit: give cache= in its URL")
    looked = cached = 0
    differing: list[_Difference] = []
    for name in maps or session.maps():
        records = session.records(name)
        for page in _pages(records, sample):
            served, found = _compared(records, page)
            looked += len(page)
            cached += served
            differing += found
    if differing:
        click.echo(f"{len(differing):,} differ; looking again when no write explains it", err=True)
        time.sleep(SETTLED)
        differing = list(_again(differing))
    if mend:
        for each in differing:
            each.records.uncache([each.address])
    _show(session, differing, looked, cached, mend=mend)
    if differing:
        raise SystemExit(1)


def _pages(records: Records, sample: int) -> Iterator[list[str]]:
    """Yield the stored keys of a map."""
    after: str | None = None
    while sample > 0:
        page = records.page(after=after, limit=min(_PAGE, sample), values=False)
        yield [address for address, _ in page.entries]
        sample -= len(page.entries)
        after = page.resume
        if after is None:
            return


def _compared(records: Records, addresses: Sequence[str]) -> tuple[int, list[_Difference]]:
    """Return how many of these are cached, and what differs."""
    served, now = records.cached(addresses), records.now()
    stored = records.read(list(served))
    return len(served), [
        _Difference(records, address, served[address], entry)
        for address, entry in zip(served, stored, strict=True)
        if entry != served[address] and not _over(served[address], now)
    ]


def _over(entry: Stored | None, now: float) -> bool:
    """Tell whether no one is served it any more."""
    return entry is not None and entry.expires is not None and entry.expires <= now


def _again(differing: Sequence[_Difference]) -> Iterator[_Difference]:
    for each in differing:
        yield from _compared(each.records, [each.address])[1]


def _show(
    session: Session,
    differing: Sequence[_Difference],
    looked: int,
    cached: int,
    *,
    mend: bool,
) -> None:
    rows = [each.shown() for each in differing]
    if session.json:
        click.echo(json.dumps({"entries": looked, "cached": cached, "differing": rows}))
        return
    for row in rows:
        click.echo(f"{row['map']}[{row['key']}]: cached {row['cached']}, stored {row['stored']}")
    mended = ", and were removed from the cache" if rows and mend else ""
    click.echo(f"{looked:,} entries, {cached:,} cached, {len(rows):,} differ for good{mended}")
