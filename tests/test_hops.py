"""How many Python functions an operation may call on its way to a store."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "hops.py"

# By stack and operation. Later Pythons than 3.11 inline comprehensions and call less.
MOST: Mapping[str, Mapping[str, int]] = {
    "memcached and DynamoDB": {
        "m[k], a hit": 10,
        "m[k], a miss": 72,
        "m[k] = v": 88,
        "m[k] += 1": 128,
        "m[k].append(x)": 160,
    },
    "SQLite": {"m[k]": 6, "m[k] = v": 14, "m[k] += 1": 41, "m[k].append(x)": 80},
}


@pytest.fixture(scope="module")
def hops() -> Any:
    """Return the script as a module."""
    spec = importlib.util.spec_from_file_location("hops", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["hops"] = module  # dataclasses and named tuples look themselves up there
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("stack", MOST)
def test_an_operation_calls_no_more_functions_than_it_did(hops: Any, stack: str):
    """Each operation calls at most so many Python functions."""
    with hops.STACKS[stack]() as operations:
        found = {each.name: hops.count(each).calls for each in operations}
    assert {name: found[name] for name, most in MOST[stack].items() if found[name] > most} == {}
