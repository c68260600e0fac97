"""The target of an SQLite file: rows that nobody's lpcm wrote, read through a map.

One file for the process, with a connection of the test's own beside lpcm's; both stay open, for
closing a descriptor of a database drops the locks of its process.
"""

# ruff: noqa: D401  # a target's first line says what it is given and what may come of it

from __future__ import annotations

import atexit
import functools
import sqlite3
import tempfile
from typing import TYPE_CHECKING, Any

import lpcm
from lpcm import LPCM, LPCMError
from lpcm.values import keys
from tests.fuzz.cases import Case
from tests.strategies import same

if TYPE_CHECKING:
    from tests.fuzz.chance import Chance

__all__ = ["sqlite_rows"]


@functools.cache
def _opened() -> tuple[LPCM[Any, Any], sqlite3.Connection]:
    directory = tempfile.TemporaryDirectory()
    atexit.register(directory.cleanup)
    path = f"{directory.name}/rows.sqlite3"
    lpcm.configure(f"sqlite:///{path}?synchronous=normal&namespace=fuzz", using="fuzz")
    held: LPCM[Any, Any] = LPCM("rows", using="fuzz")
    held["made"] = 1
    raw = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
    raw.execute("PRAGMA synchronous=OFF")
    return held, raw


def sqlite_rows(chance: Chance) -> Case:
    """A row of SQLite, read in every way: a value, or an error of lpcm's; it can be cleared."""

    def check(row: tuple[Any, ...]) -> str:
        held, raw = _opened()
        pk = keys.partition("fuzz", "rows")
        raw.execute("DELETE FROM entries WHERE pk = ?", (pk,))
        raw.execute("INSERT INTO entries(pk, sk, v, t, etag) VALUES (?, ?, ?, ?, 7)", (pk, *row))
        outcome = "absent"
        try:
            for key, value in held.items():
                outcome = "under text that is no key's own"
                if keys.encode(key) == row[0]:
                    again = held.get(key)
                    assert same(again, value)
                    outcome = "read"
        except LPCMError:
            outcome = "refused"
        assert len(held) == 1
        held.clear()
        assert len(held) == 0
        return outcome

    text = chance.text(20)
    try:
        text = keys.encode(chance.value())
    except LPCMError:
        text = chance.text(20)
    value = chance.choice(
        (
            chance.json,
            chance.json,
            chance.text,
            chance.raw,
            lambda: None,
            lambda: 0.5,
            lambda: chance.randrange(-(2**63), 2**63),
            lambda: chance.choice((1e300, float("inf"))),
        )
    )()
    kind = chance.choice((None, None, "json", "json", "json", "int", "", chance.text(5)))
    return Case((chance.damage(text) if chance.random() < 0.2 else text, value, kind), check)
