"""``lpcm verify``: whether the promise holds on a user's own stack, by trying to break it.

Knows the recorded histories (``lpcm.verify``) and how to show the result.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lpcm import LPCM, Engine, config
from lpcm.administration import drop
from lpcm.cli.words import pass_session
from lpcm.verify import MAP, play, users_own, with_options

if TYPE_CHECKING:
    from lpcm.cli import Session
    from lpcm.verify import Stale, Violation

__all__ = ["verify"]

_ROUND = 5.0
_SHOWN = {
    "clients killed": "clients killed amid what they did",
    "clients stopped": "clients stopped for a while",
    "cache cut off": "connections to the cache cut, all at once",
    "cache unreachable": "times the cache was out of reach",
    "EX": "publications that came too late (EX)",
    "steals": "leases taken over from clients that did not fill",
    "overlapping writers": "writers of one key at the same time",
    "CacheUnavailable": "operations refused without the cache",
    "OutcomeUnknown": "writes of unknown outcome",
    "near hits": "reads served from near caches",
}


@click.command()
@click.option(
    "--seconds",
    type=click.FloatRange(min=1),
    default=30.0,
    show_default=True,
    help="How long clients work.",
)
@click.option("--clients", type=click.IntRange(1, 32), default=3, show_default=True)
@click.option("--seed", type=int, help="Repeat the choices of an earlier run.")
@pass_session
def verify(session: Session, seconds: float, clients: int, seed: int | None) -> None:
    """Try to break the promise on your own store and cache; end with 1 if that works.

    Client processes read and write a few keys in a namespace of their own, which is deleted
    afterwards, while they are stopped and killed and their connections to memcached cut and
    held back. Then every key's history is judged: is there an order of the operations that
    explains what each returned? And what memcached still serves is compared with the store.

    Nothing of yours is restarted or emptied. It costs a few thousand reads and writes.
    """
    if session.url is None and "using" in click.get_current_context().find_root().params:
        raise click.UsageError("the clients read no Django settings: name the store with --url")
    given = session.url or os.environ.get("LPCM_URL") or config.DEFAULT_URL
    namespace = f"lpcm-verify-{secrets.token_hex(4)}"
    url = with_options(given, namespace=namespace)
    seed = secrets.randbelow(2**31) if seed is None else seed
    settings = config.parse(url)
    mode = "strict" if settings.strict else "available"
    cached = settings.cache is not None
    click.echo(f"{settings.location}{f', cached ({mode})' if cached else ''}, seed {seed}")
    if settings.scheme == "memory":
        raise click.UsageError("memory:// is one process's, and this needs several")
    total: Counter[str] = Counter()
    rounds = max(1, round(seconds / _ROUND))
    broken: Violation | Stale | None = None
    try:
        with tempfile.TemporaryDirectory(prefix="lpcm-") as made, users_own(url) as target:
            for number in range(rounds):
                length = min(_ROUND, seconds)
                directory = Path(made)
                played = play(
                    target, directory, seconds=length, seed=seed + number, clients=clients
                )
                total += played.counts
                total["operations"] += played.operations
                broken = played.broken
                if broken is not None:
                    break
    finally:
        _clear(url)
    for name, words in {"operations": "operations judged", **_SHOWN}.items():
        if total[name]:
            click.echo(f"{total[name]:10,}  {words}")
    if broken is not None:
        click.echo(f"\nBROKEN: {broken}")
        raise SystemExit(1)
    promise = "reads of values that were, writes in one order" if target.relaxed else "linearizable"
    if settings.max_stale is not None and not target.relaxed:
        promise += f", but for reads that are at most {settings.max_stale:g} s old"
    click.echo(f"\nThe promise held: {promise}.")


def _clear(url: str) -> None:
    """Delete what was written, also from the catalogue."""
    engine = Engine.open(url)
    try:
        LPCM(MAP, using=engine).clear()
        drop(engine)
    finally:
        engine.close()
