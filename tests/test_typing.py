"""What type checkers make of maps: mypy and pyright, in strict mode, as a user has them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
USE = """
from typing import Any, assert_type

import lpcm
from lpcm import LPCM, Entry, LPCMSet

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

users: LPCM[str, dict[str, list[str]]] = LPCM("users")
users["7"]["tags"].append("x")
users.setdefault("8", {}).update(tags=["y"])

tags: LPCMSet[str, int] = LPCMSet("tags")
tags.insert_values("k", [1, 2])
tags["k"] |= {3}
assert_type(tags["k"], set[int])

with lpcm.transaction() as t:
    assert_type(t[hits]["home"], int)
    t[hits]["home"] += 1
assert_type(lpcm.transact(lambda t: t[hits]["home"]), int)


async def main() -> None:
    assert_type(await hits.aget("home"), int | None)
    await hits.aset("home", 1)
    async for key, value in hits.aitems():
        assert_type(key, str)
        assert_type(value, int)


hits["home"] = "text"  # WRONG
hits[7]  # WRONG
tags.insert_values("k", ["text"])  # WRONG
LPCM("m", speed=11)  # WRONG
"""
WRONG = [number for number, line in enumerate(USE.splitlines(), 1) if "# WRONG" in line]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_a_users_code_is_typed(checker, tmp_path):
    """Every expression has the type it says, and what is wrong is found, line by line."""
    file = tmp_path / "use.py"
    file.write_text(USE)
    if checker == "mypy":
        options = ["--strict", "--no-error-summary", "--cache-dir", str(ROOT / ".mypy_cache")]
        command = ["mypy", "--config-file", "", *options]
    else:
        command = ["pyright", "--pythonpath", sys.executable]
    done = subprocess.run(
        [sys.executable, "-m", *command, str(file)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    found = [line for line in done.stdout.splitlines() if " error: " in line or " - error" in line]
    lines = [int(line.partition("use.py:")[2].partition(":")[0]) for line in found]
    assert lines == WRONG, done.stdout
