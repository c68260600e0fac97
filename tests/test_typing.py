"""What type checkers make of maps: mypy and pyright, in strict mode, as a user has them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
USE = """
import io
from typing import Any, BinaryIO, assert_type

import lpcm
from decimal import Decimal

from lpcm import LPCM, Entry, LPCMSet, LiveDecimal, LiveDict, LiveFloat, LiveInt, LiveList, LiveSet

hits: LPCM[str, int] = LPCM("hits", default=0)
hits["home"] += 1
assert_type(hits["home"], int)
assert_type(hits.get("home"), int | None)
assert_type(hits.get("home", "none"), int | str)
assert_type(hits.pop("home"), int)
assert_type(hits.entry("home"), Entry[int])
assert_type(hits.get_many(["home"]), dict[str, int])
assert_type(hits.most_common(3), list[tuple[str, int]])
for name, number in hits.items():
    assert_type(name, str)
    assert_type(number, int)
assert_type(list(hits.keys(prefix="h")), list[str])
plain = LPCM("plain")
assert_type(plain["anything"], Any)

films: LPCM[str, bytes] = LPCM("films")
with films.open("trailer", "wb", ttl=60) as film:
    assert_type(film, BinaryIO)
    film.write(b"frame")
with films.open("trailer") as back:
    assert_type(back, io.BufferedReader)
    assert_type(back.read(), bytes)



async def copy_film() -> None:
    async with films.aopen("trailer") as source, films.aopen("copy", "wb", ttl=60) as target:
        assert_type(await source.read(10), bytes)
        assert_type(await target.write(b"frame"), int)
        async for line in source:
            assert_type(line, bytes)
    opened = await films.aopen("trailer")
    assert_type(await opened.readline(), bytes)
    await opened.aclose()


users: LPCM[str, dict[str, list[str]]] = LPCM("users")
users["7"]["tags"].append("x")
users.setdefault("8", {}).update(tags=["y"])

assert_type(hits | {"x": 1}, dict[str, int])
assert_type(hits | {1: "x"}, dict[str | int, int | str])
assert_type(hits.setdefault("home", 1), int)
assert_type(hits.setdefault("home"), int | None)

counts: LPCM[str, int, LiveInt] = LPCM("hits", default=0)
counts["home"] = 1
counts["home"] += 1
counts["home"] *= 2
counts["home"] //= 2
counts["home"] |= 1
assert_type(counts["home"], LiveInt)
assert_type(counts["home"].increment(), int)
assert_type(counts["home"].decrement(0.5), float)
assert_type(counts.get("home"), int | None)
assert_type(counts.setdefault("home", 1), LiveInt)
counts.set("home", 2)
prices: LPCM[str, Decimal, LiveDecimal] = LPCM("prices")
prices["tea"] += Decimal("0.1")
prices["tea"] *= 2
assert_type(prices["tea"].increment(Decimal("0.1")), Decimal)
degrees: LPCM[str, float, LiveFloat] = LPCM("degrees")
degrees["room"] += 0.5
degrees["room"] **= 2
assert_type(degrees["room"].decrement(0.5), float)

records: LPCM[str, dict[str, list[int]], LiveDict[str, list[int]]] = LPCM("records")
records["7"] = {"scores": [1]}
assert_type(records["7"], LiveDict[str, list[int]])
assert_type(records["7"]["scores"], LiveList[int])
assert_type(records["7"]["scores"][0], LiveInt)
assert_type(records["7"]["scores"][:1], list[int])
records["7"]["scores"].append(2)
records["7"]["scores"] += [3]
records["7"]["scores"][0] += 1
records["7"]["scores"][0].increment()
records["7"] |= {"more": [1]}
anything: LPCM[str, dict[str, Any], LiveDict[str, Any]] = LPCM("anything")
assert_type(anything["7"]["x"], Any)
names: LPCMSet[str, str, LiveSet[str]] = LPCMSet("names")
names["k"] |= {"a"}
names["k"].add("b")

tags: LPCMSet[str, int] = LPCMSet("tags")
tags.insert_values("k", [1, 2])
tags["k"] |= {3}
assert_type(tags["k"], set[int])

with lpcm.transaction() as t:
    assert_type(t[hits]["home"], int)
    t[hits]["home"] += 1
    assert_type(t[counts]["home"], LiveInt)
    t[counts]["home"] += 1
with LPCMSet[str, int]("tags") as block, lpcm.Engine.open("memory://") as engine:
    assert_type(block["k"], set[int])
    assert_type(engine, lpcm.Engine)
with counts as same:
    assert_type(same["home"], LiveInt)
counts.close()
assert_type(lpcm.transact(lambda t: t[hits]["home"]), int)


def total(numbers: LPCM[str, int]) -> int:
    return sum(numbers.values())


total(counts)  # what subscripting gives is an int


async def main() -> None:
    assert_type(await hits.aget("home"), int | None)
    async with hits as same, lpcm.Engine.open("memory://") as engine:
        assert_type(await same.aget("home"), int | None)
        await engine.aclose()
    await hits.aclose()
    await hits.aset("home", 1)
    async for key, value in hits.aitems():
        assert_type(key, str)
        assert_type(value, int)
    assert_type(await (await counts.agetitem("home")).aincrement(), int)
    record = await records.agetitem("7")
    assert_type(record, LiveDict[str, list[int]])
    await record["scores"].aappend(1)
    await record["scores"][0].aincrement(2)
    await record["scores"].asetitem(0, 5)
    await record["scores"].asort(reverse=True)
    assert_type(await record["scores"].apop(), int)
    await record.asetitem("new", [1])
    await record.aupdate({"newer": [2]})
    await record.aupdate(newest=[2])
    assert_type(await record.apop("new"), list[int])
    assert_type(await record.apop("new", None), list[int] | None)
    await record.adelitem("newer")
    members = await names.agetitem("k")
    await members.aadd("c")
    await members.adifference_update({"c"})
    assert_type(await counts.asetdefault("away", 0), LiveInt)
    await record["scores"].aappend("text")  # WRONG
    await members.aadd(1)  # WRONG


async def add(scores: LiveList[int], score: int) -> None:
    await scores.aappend(score)


hits["home"] = "text"  # WRONG
counts["home"] = "text"  # WRONG
counts.get("home", 0).increment()  # WRONG
records["7"]["scores"] = ["text"]  # WRONG
hits[7]  # WRONG
tags.insert_values("k", ["text"])  # WRONG
LPCM("m", speed=11)  # WRONG
"""
WRONG = [number for number, line in enumerate(USE.splitlines(), 1) if "# WRONG" in line]
PAGE = ROOT / "docs" / "explanation" / "live-values.md"


@pytest.mark.timeout(180)
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_a_users_code_is_typed(checker, tmp_path):
    """Every expression has the type it says, and what is wrong is found, line by line."""
    file, shown = tmp_path / "use.py", tmp_path / "shown.py"
    file.write_text(USE)
    snippets = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (snippet,) = (each for each in snippets if ">>> " not in each)
    shown.write_text(snippet)
    if checker == "mypy":
        options = ["--strict", "--no-error-summary", "--cache-dir", str(ROOT / ".mypy_cache")]
        command = ["mypy", "--config-file", "", *options]
    else:
        command = ["pyright", "--pythonpath", sys.executable]
    done = subprocess.run(
        [sys.executable, "-m", *command, str(file), str(shown)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    found = [line for line in done.stdout.splitlines() if " error: " in line or " - error" in line]
    assert [line for line in found if "shown.py:" in line] == []
    lines = [int(line.partition("use.py:")[2].partition(":")[0]) for line in found]
    assert lines == WRONG, done.stdout
