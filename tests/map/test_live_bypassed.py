"""Code that changes live containers past their methods is warned of; nothing else is."""

import asyncio
import bisect
import collections
import copy
import gc
import heapq
import json
import pickle
import queue
import random
import subprocess
import sys
import warnings

import pytest

from lpcm import LPCM, Engine, LiveValueWarning

LONG = 200


@pytest.fixture(scope="module")
def engine():
    """Yield an engine in memory."""
    opened = Engine.open("memory://")
    yield opened
    opened.close()


@pytest.fixture
def m(engine):
    """Return an empty map."""
    made = LPCM("jobs", using=engine)
    made.clear()
    return made


@pytest.fixture
def ignored(monkeypatch):
    """Return the list of errors that Python reports and goes on, such as those of ``__del__``."""
    found = []
    monkeypatch.setattr(sys, "unraisablehook", lambda report: found.append(report.exc_value))
    return found


class Thing:
    """An object whose attributes are somebody's dict."""


def become(values):
    """Let an object's attributes be that dict, and set one."""
    thing = Thing()
    thing.__dict__ = values
    thing.new = 1


def fill(items):
    """Put into a priority queue over that list."""
    made = queue.PriorityQueue()
    made.queue = items
    made.put(7)


LISTS = {
    "heappush": lambda items: heapq.heappush(items, 7),
    "heappop": heapq.heappop,
    "heapify": heapq.heapify,
    "heapreplace": lambda items: heapq.heapreplace(items, 9),
    "priority queue": fill,
    "append": lambda items: list.append(items, 7),
    "clear": list.clear,
    "sort": list.sort,
}
DICTS = {
    "update": lambda values: dict.update(values, a=2),
    "pop": lambda values: dict.pop(values, "a"),
    "exec": lambda values: exec("pass", values),
    "__dict__": become,
}
SETS = {"add": lambda members: set.add(members, 7), "clear": set.clear}
VALUES = {"l": [3, 2, 1], "d": {"a": 1, "b": 2}, "s": {1, 2}}
CASES = [
    pytest.param(key, change, id=f"{key} {name}")
    for key, changes in {"l": LISTS, "d": DICTS, "s": SETS}.items()
    for name, change in changes.items()
]


@pytest.mark.parametrize(("key", "change"), CASES)
def test_a_change_past_the_methods_warns(m, key, change):
    """The warning names map, key and the right way, at any depth; nothing is stored."""
    m[key] = VALUES[key]
    m["in"] = {"x": ([VALUES[key]],)}
    with pytest.warns(
        LiveValueWarning, match=rf"m\['{key}'\] of map 'jobs' .*m.transform\('{key}'"
    ):
        change(m[key])
    with pytest.warns(
        LiveValueWarning, match=r"m\['in'\]\['x'\]\[0\]\[0\] of map .*transform\('in'"
    ):
        change(m["in"]["x"][0][0])
    assert m.copy() == {key: VALUES[key], "in": {"x": ([VALUES[key]],)}}


@pytest.mark.parametrize("name", [name for name in LISTS if name != "heapify"])
def test_long_lists_are_compared_by_length_and_ends(m, name):
    """A list of many elements costs no more to compare, and most changes are still seen."""
    m["l"] = list(range(LONG, 0, -1))
    with pytest.warns(LiveValueWarning):
        LISTS[name](m["l"])


def test_long_dicts_and_sets_are_compared_by_length(m):
    """So are dicts and sets of many elements."""
    m["d"], m["s"] = {str(number): number for number in range(LONG)}, set(range(LONG))
    for change in (lambda: dict.clear(m["d"]), lambda: set.add(m["s"], -1)):
        with pytest.warns(LiveValueWarning):
            change()


def test_the_line_that_did_it_is_named(m):
    """A warning stands at the line that changed the copy, or that would have gone on with it."""
    m["l"] = [1]
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        heapq.heappush(m["l"], 2)
        held = m["l"]
        heapq.heappush(held, 2)
        held.append(3)
    assert [warning.filename for warning in found] == [__file__, __file__]
    assert found[1].lineno - found[0].lineno == 3
    assert m["l"] == held == [1, 3]


def test_the_endless_loop_warns_at_once(m):
    """``while m["q"]: heapq.heappop(m["q"])`` warns in its first pass."""
    m["q"] = [1, 2]
    with pytest.warns(LiveValueWarning):
        heapq.heappop(m["q"])
    assert m["q"]


def test_the_endless_loop_ends_where_warnings_are_errors(m, ignored):
    """With a filter that asks for errors the loop ends as its second pass begins."""
    m["q"] = [1, 2]
    passes = 0
    with pytest.raises(LiveValueWarning, match="heapq"):
        while m["q"]:
            heapq.heappop(m["q"])
            passes += 1
    assert passes == 1
    assert [type(error) for error in ignored] == [LiveValueWarning]
    assert m["q"] == [1, 2]


def test_an_error_is_raised_before_anything_is_written(m):
    """Where warnings are errors, the next change of a changed copy raises, and is not done."""
    m["q"] = [1, 2]
    held = m["q"]
    heapq.heappush(held, 0)
    with pytest.raises(LiveValueWarning):
        held.append(3)
    assert m["q"] == [1, 2]
    m["d"] = {"l": [1]}
    outer = m["d"]
    list.append(outer["l"], 2)
    with pytest.raises(LiveValueWarning):
        outer["l"].append(1)
    assert m["d"] == {"l": [1]}


def test_an_error_is_raised_for_its_entry_alone(m, ignored):
    """What is pending for one entry disturbs no reader of another entry or map."""
    m.update(q=[1], other=[1])
    list.append(m["q"], 2)
    assert m["other"] == [1]
    assert LPCM("other", default=[1], using=m._using)["q"] == [1]
    with pytest.raises(LiveValueWarning):
        m.get("q")
    assert m.get("q") == [1]
    assert len(ignored) == 1


def test_awaited(m):
    """The twins see it, too."""

    async def main():
        held = await m.agetitem("q")
        list.append(held, 2)
        with pytest.warns(LiveValueWarning):
            await held.aappend(3)
        list.append(await m.agetitem("q"), 4)
        with pytest.warns(LiveValueWarning):  # a future holds what was read until the loop goes on
            await asyncio.sleep(0.1)

    m["q"] = [1]
    asyncio.run(main())
    assert m["q"] == [1, 3]


def failing(m):
    """Call a method that raises."""
    with pytest.raises(KeyError):
        m["d"].pop("no")


QUIET = {
    "read": lambda m: (
        list(m["l"]),
        m["l"][0],
        m["l"][:],
        sorted(m["l"]),
        max(m["d"]),
        len(m["s"]),
    ),
    "walk": lambda m: [(key, value) for key, value in m.items()],
    "serializers": lambda m: (json.dumps(m["d"]), pickle.dumps(m["l"]), repr(m["s"])),
    "copies": lambda m: (copy.copy(m["l"]), copy.deepcopy(m["d"]), m["d"].copy(), m["s"] | {1}),
    "copies are anyone's": lambda m: heapq.heapify(list(m["l"])),
    "methods": lambda m: (m["l"].append(1), m["d"].update(x=1), m["s"].add(5), m["l"].sort()),
    "operators": lambda m: exec('m["l"] += [1]; m["d"] |= {"z": 1}; m["s"] ^= {1}', {"m": m}),
    "elements": lambda m: (m["in"]["x"][0].append(1), m["in"]["x"][0][0].pop(), m["in"].clear()),
    "insort": lambda m: (m["l"].sort(), bisect.insort(m["l"], 2)),
    "shuffle": lambda m: random.Random(1).shuffle(m["l"]),
    "heap reads": lambda m: (heapq.nsmallest(2, m["l"]), list(heapq.merge(m["l"], m["l"]))),
    "failures": failing,
    "others' writes": lambda m: [m["l"].append(m.set("l", [9])) for _ in range(2)],
    "objects in values": lambda m: m["nan"][0],
    "cycles of garbage": lambda m: [cycle.append(cycle) for cycle in [[m["l"]]]],
    "in a transform": lambda m: m.transform("l", lambda items: heapq.heapify(items) or items),
    "default": lambda m: LPCM("none", default=lambda: VALUES, using=m._using)["k"]["l"],
}


@pytest.mark.parametrize("use", QUIET.values(), ids=QUIET)
def test_nothing_else_warns(m, use, ignored):
    """Reading, copying and the methods are silent, and so is the garbage collector after them."""
    m.update({**VALUES, "in": {"x": [[[1, 2], {"a": [3]}]]}, "nan": [float("nan")]})
    use(m)
    gc.collect()
    assert ignored == []
    assert {"l": [3, 2, 1], "d": {"a": 1, "b": 2}, "s": {1, 2}} == VALUES
    assert type(VALUES["l"]) is list


def test_an_exit_is_quiet_or_warns(tmp_path):
    """At the end of a program a changed copy still warns, and one that is not does not."""
    code = """
import heapq
from lpcm import LPCM
m = LPCM("jobs", url="memory://")
m["q"] = [1]
held = m["q"]
if {change}: heapq.heappush(held, 2)
"""
    for change in (True, False):
        done = subprocess.run(
            [sys.executable, "-c", code.format(change=change)],
            capture_output=True, text=True, check=True, cwd=tmp_path,
        )  # fmt: skip
        assert ("LiveValueWarning" in done.stderr) == change
        assert change or not done.stderr


def test_wrappers_that_return_what_they_were_given(m):
    """A ``setdefault`` of a wrapper's own gives back a plain list; reading gives the live one."""
    wrapped = collections.UserDict()
    wrapped.data = m
    for wrapper in (collections.ChainMap(m), wrapped):
        wrapper.setdefault("k", []).append(1)
        assert m["k"] == []
        wrapper["k"].append(1)
        assert m.pop("k") == [1]


def test_warnings_can_be_turned_off(m):
    """A filter silences them, as any warning."""
    m["q"] = [2, 1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LiveValueWarning)
        heapq.heapify(m["q"])
        assert m["q"] == [2, 1]
