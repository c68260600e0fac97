"""``lpcm audit``: whether what the cache serves is what is stored.

Looks past the protocol at both, and changes nothing unless told to mend. What differs may
be a write under way or a client that died in one: it counts only if it outlives the mark.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from lpcm.cli.words import pass_session
from lpcm.coherence.item import Policy
from lpcm.engine.drive import run
from lpcm.errors import CacheUnavailable, ConfigError, ValueDecodingError
from lpcm.ports import CacheLost, KeyRange
from lpcm.values.json_text import printable
from lpcm.values.keys import key_of
from lpcm.values.registry import foreign

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lpcm import Engine
    from lpcm.cli import Session
    from lpcm.ports import Stored

__all__ = ["audit"]

_PAGE = 500


class _Difference(NamedTuple):
    """An entry that is not what the cache would serve."""

    map: str
    sk: str
    cached: Stored | None
    stored: Stored | None

    def shown(self, engine: Engine) -> dict[str, str]:
        """Return it in words."""
        return {
            "map": self.map,
            "key": printable(repr(key_of(self.sk))),
            "cached": _words(engine, self.cached),
            "stored": _words(engine, self.stored),
        }


def _words(engine: Engine, entry: Stored | None) -> str:
    if entry is None:
        return "absent"
    try:
        with foreign():
            text = printable(repr(engine.codec.decode(entry.data, entry.kind)))
    except (ValueDecodingError, RecursionError) as error:
        text = printable(f"unreadable ({error})")
    return text if len(text) <= 60 else f"{text[:57]}..."


@click.command()
@click.argument("maps", nargs=-1)
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
    engine = session.engine()
    if engine.stack.coherent is None:
        raise ConfigError(f"{engine.location} has no cache to audit: give cache= in its URL")
    looked = cached = 0
    differing: list[_Difference] = []
    for name in maps or session.maps():
        for page in _pages(engine, name, sample):
            served, found = _compared(engine, name, page)
            looked += len(page)
            cached += served
            differing += found
    if differing:
        click.echo(f"{len(differing):,} differ; looking again when no write explains it", err=True)
        time.sleep(Policy().mark + 1)
        differing = list(_again(engine, differing))
    if mend:
        for each in differing:
            run(engine.stack.coherent.read_stored(engine.partition(each.map), [each.sk], 0.0))
    _show(session, engine, differing, looked, cached, mend=mend)
    if differing:
        raise SystemExit(1)


def _pages(engine: Engine, name: str, sample: int) -> Iterator[list[str]]:
    """Yield the stored keys of a map."""
    after: str | None = None
    while sample > 0:
        page = run(
            engine.store.scan(
                engine.partition(name),
                KeyRange(),
                engine.stack.clock.now(),
                after=after,
                limit=min(_PAGE, sample),
                values=False,
            )
        )
        yield [sk for sk, _ in page.entries]
        sample -= len(page.entries)
        after = page.resume
        if after is None:
            return


def _compared(engine: Engine, name: str, sks: Sequence[str]) -> tuple[int, list[_Difference]]:
    """Return how many of these are cached, and what differs."""
    pk, now = engine.partition(name), engine.stack.clock.now()
    coherent = engine.stack.coherent
    assert coherent is not None
    try:
        served: dict[str, Any] = run(coherent.cached(pk, sks))
    except CacheLost as lost:
        raise CacheUnavailable(str(lost)) from lost
    stored = run(engine.store.read_many(pk, list(served), now))
    return len(served), [
        _Difference(name, sk, served[sk], entry)
        for sk, entry in zip(served, stored, strict=True)
        if entry != served[sk] and not _over(served[sk], now)
    ]


def _over(entry: Stored | None, now: float) -> bool:
    """Tell whether no one is served it any more."""
    return entry is not None and entry.expires is not None and entry.expires <= now


def _again(engine: Engine, differing: Sequence[_Difference]) -> Iterator[_Difference]:
    for each in differing:
        yield from _compared(engine, each.map, [each.sk])[1]


def _show(
    session: Session,
    engine: Engine,
    differing: Sequence[_Difference],
    looked: int,
    cached: int,
    *,
    mend: bool,
) -> None:
    rows = [each.shown(engine) for each in differing]
    if session.json:
        click.echo(json.dumps({"entries": looked, "cached": cached, "differing": rows}))
        return
    for row in rows:
        click.echo(f"{row['map']}[{row['key']}]: cached {row['cached']}, stored {row['stored']}")
    mended = ", and were removed from the cache" if rows and mend else ""
    click.echo(f"{looked:,} entries, {cached:,} cached, {len(rows):,} differ for good{mended}")
