"""Draws inputs from a seed: text, numbers, trees and bytes, whole or damaged.

Knows what lpcm's formats look like, and nothing of the code that reads them. Invariant: the
same seed draws the same input, in every process and on every Python.
"""

# ruff: noqa: DTZ001  # naive datetimes are values too

from __future__ import annotations

import base64
import itertools
import json
import math
import random
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

PRIME = 2**61 - 1
LETTERS = (
    'a0!\x00\x01\x02\x1f "#/@AZ:?~-_.,{}[]%&=\\\n\r\x7f\x80é\u07ff\u0800'
    "\ud7ff\ue000\uffff\U0001f600\u0663\uff20"
)
NUMBERS = (
    "0",
    "1",
    "-1",
    "00",
    "-0",
    "+1",
    "1.0",
    "0.1",
    "1e5",
    "1E999999",
    "1E-999999",
    "-1E+999999999",
    "1e400",
    "1E125",
    "1E126",
    "9" * 38,
    "9" * 39,
    "9" * 400,
    "9" * 4301,
    "0." + "1" * 500,
    "nan",
    "NaN",
    "sNaN",
    "inf",
    "-Infinity",
    "Infinity",
    "1_000",
    " 1",
    "1 ",
    "٣",
    "0x1f",
    "1e",
    ".",
    "-",
    "",
    str(2**63),
    str(2**64),
    str(-(2**63)),
    str(PRIME),
    "18446744073709551615",
    "1" + "0" * 100_000,
)
TAGS = (
    "!int",
    "!float",
    "!decimal",
    "!bytes",
    "!tuple",
    "!set",
    "!frozenset",
    "!dict",
    "!date",
    "!time",
    "!datetime",
    "!timedelta",
    "!uuid",
    "!@Name/1",
    "!@/",
    "!@Name/x",
    "!!a",
    "!",
    "!what",
)
MOMENTS = (
    "2026-05-01",
    "2026-05-01T12:00:00",
    "12:00:00",
    "2026-05-01T12:00:00+02:00[Europe/Berlin]",
    "2026-10-25T02:30:00+01:00[Europe/Berlin][fold=1]",
    "0001-01-01",
    "9999-12-31T23:59:59.999999",
    "2026-05-01T12:00:00+23:59:59.999999",
    "0001-01-01T00:00:00+14:00",
    "12:00:00[../etc]",
    "20260501",
    "12:00:00[a/b]",
    "12:00:00[" + "x" * 300 + "]",
    "2026-W18-5",
    "24:00",
    "12:00:00-00:00[UTC]",
    "12:00[Europe]",
    "12:00[]",
    "2026-13-01",
)


class Chance(random.Random):
    """What a round draws from."""

    def text(self, most: int = 12) -> str:
        """Return text of traps."""
        if self.random() < 0.15:
            return self.choice((*NUMBERS, *MOMENTS, *TAGS))
        return "".join(self.choices(LETTERS, k=self.randrange(most)))

    def raw(self, most: int = 12) -> bytes:
        """Return bytes."""
        return (
            self.text(most).encode()
            if self.random() < 0.5
            else self.randbytes(self.randrange(most))
        )

    def many(self, most: int) -> int:
        """Return a count: mostly few, at times up to most."""
        return self.randrange(4) if self.random() < 0.98 else self.randrange(most)

    def number(self) -> Any:
        """Return a Python number."""
        return self.choice(
            (
                lambda: self.randrange(-300, 300),
                lambda: (
                    self.choice((-1, 1))
                    * self.getrandbits(self.choice((60, 64, 130, 5000, 40_000)))
                ),
                lambda: self.choice(
                    (0.0, -0.0, math.inf, -math.inf, math.nan, 5e-324, 1e300, 0.1, 1e22)
                ),
                lambda: self.uniform(-1e6, 1e6),
                lambda: Decimal(self.choice([each for each in NUMBERS if _is_decimal(each)])),
                lambda: self.randrange(50) * PRIME,
            )
        )()

    def scalar(self) -> Any:
        """Return a value of a type that lpcm documents, or one beside it."""
        return self.choice(
            (
                self.text,
                self.raw,
                self.number,
                self.number,
                lambda: None,
                lambda: True,
                lambda: date.fromordinal(self.randrange(1, 3_652_060)),
                self._datetime,
                self._time,
                lambda: timedelta(microseconds=self.getrandbits(60)),
                lambda: UUID(int=self.getrandbits(128)),
                lambda: object,
                lambda: "\ud800",
            )
        )()

    def _zone(self) -> Any:
        seconds = self.randrange(-86_399, 86_400)
        return self.choice((None, UTC, timezone(timedelta(seconds=seconds))))

    def _datetime(self) -> datetime:
        days = timedelta(
            days=self.randrange(3_652_058), microseconds=self.randrange(86_400 * 10**6)
        )
        return (datetime(1, 1, 1) + days).replace(tzinfo=self._zone(), fold=self.randrange(2))

    def _time(self) -> time:
        return time(self.randrange(24), self.randrange(60), tzinfo=self._zone())

    def value(self, depth: int = 0) -> Any:
        """Return a value, containers included, that lpcm should keep or refuse."""
        if depth > self.choice((1, 3, 4, 40)) or self.random() < 0.3:
            return self.scalar()
        parts = [self.value(depth + 1) for _ in range(self.many(20))]
        kind = self.choice(("list", "tuple", "set", "frozenset", "dict", "text dict"))
        match kind:
            case "list" | "tuple":
                return parts if kind == "list" else tuple(parts)
            case "set" | "frozenset":
                members = {part for part in parts if _hashes(part)}
                return members if kind == "set" else frozenset(members)
            case "dict":
                return {part: 1 for part in parts if _hashes(part)}
            case _:
                return {self.text(): part for part in parts}

    def tree(self, depth: int = 0) -> Any:
        """Return a tree as JSON has it, tags right and wrong among it."""
        if depth > self.choice((2, 4, 6)) or self.random() < 0.35:
            return self.choice(
                (
                    self.text,
                    lambda: self.choice(NUMBERS),
                    lambda: self.choice(MOMENTS),
                    lambda: None,
                    lambda: True,
                    lambda: self.randrange(-9, 999),
                    lambda: 0.5,
                    lambda: self.getrandbits(100),
                    lambda: base64.b64encode(self.raw()).decode(),
                    lambda: hex(self.getrandbits(200)),
                    lambda: str(UUID(int=self.getrandbits(128))),
                )
            )()
        parts = [self.tree(depth + 1) for _ in range(self.many(30))]
        kind = self.randrange(5)
        if kind == 0:
            return parts
        if kind == 1:
            return {self.text(): part for part in parts}
        if kind == 2:
            pairs = [[self.tree(9), part] for part in parts]
            return {"!dict": pairs}
        tag = self.choice(TAGS)
        return {tag: parts if self.random() < 0.5 else self.tree(9)}

    def json(self) -> str:
        """Return JSON, mostly."""
        if self.random() < 0.02:
            count = self.randrange(40_000)
            return self.choice(
                (
                    f'{{"!set":[{",".join(str(n * PRIME) for n in range(count // 4))}]}}',
                    f'{{"!dict":[{",".join(f"[{n * PRIME},1]" for n in range(count // 4))}]}}',
                    "[" * count,
                    "[" * count + "]" * count,
                    '{"!tuple":[' * count + "]}" * count,
                    "9" * count,
                    f'"{"9" * count}"',
                    f"[{'1' * count},1]",
                    '{"a":' * count,
                )
            )
        text = json.dumps(self.tree(), ensure_ascii=self.random() < 0.5, separators=(",", ":"))
        for number in NUMBERS[:16]:
            if self.random() < 0.05:
                text = text.replace(json.dumps(number), number)
        return self.damage(text) if self.random() < 0.3 else text

    def damage(self, whole: Any) -> Any:
        """Return text or bytes with some of it cut, doubled, moved or replaced."""
        for _ in range(self.randrange(1, 4)):
            start = self.randrange(len(whole) + 1)
            stop = min(len(whole), start + self.many(200))
            piece = whole[start:stop]
            new = self._instead(piece)
            whole = whole[:start] + new + whole[stop:]
        return whole

    def _instead(self, piece: Any) -> Any:
        match self.randrange(5):
            case 0:
                return piece[:0]
            case 1:
                return piece * self.many(2000)
            case 2:
                return piece[::-1]
            case 3:
                new = self.choice(NUMBERS)
                return new.encode() if isinstance(piece, bytes) else new
            case _:
                return self.raw() if isinstance(piece, bytes) else self.text()

    def cut(self, data: bytes) -> list[bytes]:
        """Return the bytes in pieces."""
        cuts = sorted(self.randrange(len(data) + 1) for _ in range(self.many(20)))
        edges = [0, *cuts, len(data)]
        return [data[a:b] for a, b in itertools.pairwise(edges) if a < b]


def _is_decimal(text: str) -> bool:
    try:
        Decimal(text)
    except ArithmeticError:
        return False
    return True


def _hashes(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True
