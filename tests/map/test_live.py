"""Live values: what docs/explanation/live-values.md says, on every store."""

import asyncio
import json
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from copy import copy, deepcopy
from decimal import Decimal

import pytest

from lpcm import LPCM, Engine, LPCMSet, ValueEncodingError
from lpcm.testing import FakeClock
from tests.dynamodb.conftest import dynoxide_table  # noqa: F401  # a fixture

D = Decimal


@pytest.fixture(scope="module", params=["memory", "sqlite", "dynoxide"])
def opened(request, tmp_path_factory):
    """Yield an engine and its clock."""
    clock = FakeClock()
    if request.param == "memory":
        url = "memory://"
    elif request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('live')}/m.sqlite3?synchronous=normal"
    else:
        url = request.getfixturevalue("dynoxide_table").url
    engine = Engine.open(url, clock=clock)
    yield engine, clock
    engine.close()


@pytest.fixture
def engine(opened):
    """Return the engine, its namespace empty."""
    for name in ("m", "other"):
        LPCM(name, using=opened[0]).clear()
    return opened[0]


@pytest.fixture
def m(engine):
    """Return an empty map."""
    return LPCM("m", using=engine)


def plain(m, key):
    """Return what is stored."""
    return m.transform(key, lambda value: value)


# Numbers


@pytest.mark.parametrize(
    ("stored", "delta", "wanted"),
    [(1, 2, 3), (1, 0.5, 1.5), (0.5, 1, 1.5), (D("0.1"), D("0.2"), D("0.3")), (1, True, 2)],
)
def test_the_first_assignment_adds_and_the_second_assigns(m, stored, delta, wanted):
    """Two readers' sums both count; a sum assigned again is a value."""
    m["k"] = stored
    one, two = m["k"], m["k"]
    one += delta
    two += delta
    m["k"] = one
    assert plain(m, "k") == wanted
    m["k"] = two
    assert plain(m, "k") == wanted + delta
    m["k"] = one
    assert plain(m, "k") == wanted
    assert type(plain(m, "k")) is type(wanted)


def test_sums_pile_up_and_go_down(m):
    """``+=`` and ``-=`` before the assignment count together, and a zero counts as a sum."""
    m["k"] = 10
    number = m["k"]
    number += 5
    number -= 2
    number += 0
    m.increment("k", 100)
    m["k"] = number
    assert m["k"] == 113


OPERATORS = {
    "*": (int, float, D),
    "/": (int, float, D),
    "//": (int, float, D),
    "%": (int, float, D),
    "**": (int, float, D),
    **dict.fromkeys(("<<", ">>", "&", "|", "^"), (int,)),
}


@pytest.mark.parametrize(
    ("operator", "kind"), [(name, kind) for name, kinds in OPERATORS.items() for kind in kinds]
)
def test_an_operator_is_done_to_what_is_stored(m, operator, kind):
    """``m[k] *= n`` is done to what is stored by then, once, keeps the expiry, and is Python's."""
    m.set("k", kind(7), ttl=60)
    m["d"] = {"k": kind(7)}
    number, inner = m["k"], m["d"]["k"]
    m.increment("k")
    m["d"]["k"] += 1
    names = {"m": m, "number": number, "inner": inner, "plain": kind(7), "eight": kind(8)}
    source = f"""
number += 1
number {operator}= 2
number -= 1
m["k"] = number
inner {operator}= 2
m["d"]["k"] = inner
plain += 1
plain {operator}= 2
plain -= 1
wanted = (eight + 1) {operator} 2
wanted -= 1
"""
    exec(source, names)
    stored, wanted = plain(m, "k"), names["wanted"]
    assert (type(stored), stored) == (type(wanted), wanted)
    assert names["number"] == names["plain"]
    assert m.ttl("k") == 60
    inside = eval(f"eight {operator} 2", names)
    assert repr(plain(m, "d")) == repr({"k": inside})
    m["k"] = names["number"]  # the second time: an assignment
    assert plain(m, "k") == names["plain"]
    assert m.ttl("k") is None


def test_what_an_operator_does_not_do(m):
    """A number that is no more, or no number by now, is refused; what Python refuses, too."""
    m["k"] = 2
    number = m["k"]
    number *= 3
    m["k"] = "x"
    with pytest.raises(TypeError, match="cannot change a str"):
        m["k"] = number
    del m["k"]
    with pytest.raises(KeyError):
        m["k"] = number
    assert not m
    m["k"] = 0
    with pytest.raises(ZeroDivisionError):
        m["k"] //= 0
    with pytest.raises(TypeError):
        m["k"] *= None
    m["k"] *= [1]  # no number: an assignment
    assert plain(m, "k") == []


def test_what_was_read_before_an_operator_is_assigned(m):
    """The number of which another was made is itself an assignment."""
    m["k"] = 1
    before = m["k"]
    after = before
    after += 5
    m.increment("k", 100)
    m["k"] = before
    assert plain(m, "k") == 1


def test_numbers_of_one_read_are_added_once(m):
    """Of the numbers made from one read only the first that is assigned is a sum."""
    m["k"] = 1
    read = m["k"]
    one = read
    one += 1
    two = one
    two += 5
    m["k"] = two
    assert m["k"] == 7
    m.increment("k", 10)
    m["k"] = one
    assert m["k"] == 2


def test_every_other_assignment_is_one(m, engine):
    """Arithmetic, other keys, other maps and untouched numbers are plain assignments."""
    m["k"] = 1
    read = m["k"]
    m.increment("k", 10)
    m["k"] = read
    assert m["k"] == 1
    m["k"] = m["k"] + 1
    assert m["k"] == 2
    summed = m["k"]
    summed += 1
    m["other"] = 50
    m["other"] = summed
    assert m["other"] == 3
    other = LPCM("other", using=engine)
    other["k"] = 70
    other["k"] = summed
    assert other["k"] == 3
    m.increment("k", 10)
    m["k"] = summed  # still the first time back home
    assert m["k"] == 13


def test_another_object_of_the_same_map_is_the_same_place(m, engine):
    """The place is the map, not the object that speaks of it; another engine's is another."""
    m["k"] = 1
    number = m["k"]
    number += 1
    m.increment("k", 5)
    LPCM("m", using=engine)["k"] = number
    assert m["k"] == 7
    elsewhere = Engine.open("memory://")
    number = m["k"]
    number += 1
    LPCM("m", using=elsewhere)["k"] = number
    assert LPCM("m", using=elsewhere)["k"] == 8
    elsewhere.close()


def test_copies_and_pickles_are_plain(m):
    """A copy, pickle or result of arithmetic forgets where it was read."""
    m["i"], m["f"], m["d"] = 1, 0.5, D("1.5")
    m["c"] = {"l": [1, {2}], "t": ({"x": 1},)}
    for key, kind in (("i", int), ("f", float), ("d", D), ("c", dict)):
        value = m[key]
        assert isinstance(value, kind)
        assert type(value) is not kind
        for made in (
            copy(value),
            deepcopy(value),
            pickle.loads(pickle.dumps(value)),
            type(value)(value),
        ):
            assert (type(made), made) == (kind, value)
        assert (repr(value), value) == (repr(kind(value)), kind(value))
    deep = deepcopy(m["c"])
    assert [type(part) for part in (deep["l"], deep["l"][1], deep["t"][0])] == [list, set, dict]
    assert hash(m["i"]) == hash(1)
    assert json.loads(json.dumps([m["i"], m["f"], m["c"]["l"][0]])) == [1, 0.5, 1]


def test_a_number_whose_entry_is_gone(m, opened):
    """A sum for an entry deleted or expired in between is a KeyError and revives nothing."""
    _, clock = opened
    for gone in (lambda: m.delete("k"), lambda: clock.advance(61)):
        m.set("k", 1, ttl=60)
        number = m["k"]
        number += 1
        gone()
        with pytest.raises(KeyError):
            m["k"] = number
        with pytest.raises(KeyError):
            number.increment()
        assert "k" not in m


def test_a_number_whose_type_changed(m):
    """A sum for what is no number by now is a TypeError; another kind of number takes it."""
    m["k"] = 1
    number = m["k"]
    number += 1
    m["k"] = "text"
    with pytest.raises(TypeError):
        m["k"] = number
    assert m["k"] == "text"
    m["k"] = D("0.5")
    m["k"] = number  # the failed one was no assignment
    assert m["k"] == D("1.5")


def test_an_expiry_stays(m, opened):
    """Sums and changes keep an entry's expiry; an assignment clears it."""
    m.set("k", 1, ttl=60)
    m["k"] += 1
    assert m.ttl("k") is not None
    m.set("l", [1], ttl=60)
    m["l"].append(2)
    m["l"].insert(0, 0)
    assert m.ttl("l") is not None
    m["k"] = m["k"] + 1
    assert m.ttl("k") is None


def test_a_default_is_where_a_change_begins(engine):
    """With a default, a missing key takes sums and changes, and reading stores nothing."""
    counts = LPCM("m", default=5, using=engine)
    assert counts["k"] == 5
    assert "k" not in counts
    assert counts["k"].increment() == 6
    counts["j"] += 0.5
    assert counts["j"] == 5.5
    lists = LPCM("other", default=lambda: {"l": []}, using=engine)
    lists["k"]["l"].append(1)
    lists["k"]["n"] = 0
    lists["k"]["n"] += 1
    assert lists["k"] == {"l": [1], "n": 1}
    assert list(lists) == ["k"]


def test_what_is_plain(m, engine):
    """bool, None, text, numbers not subscripted, and all values of a map that is not live."""
    m.update(b=True, n=None, s="x", i=1, l=[1])
    assert [type(m[key]) for key in "bns"] == [bool, type(None), str]
    for read in (m.get("i"), m.get_many("i")["i"], dict(m.items())["i"], m.increment("i", 0)):
        assert type(read) is int
    assert [type(member) for member in m["l"]] == [int]
    flat = LPCM("m", live=False, using=engine)
    assert [type(flat[key]) for key in "il"] == [int, list]
    assert type(pickle.loads(pickle.dumps(LPCM("m", live=False)))._live) is bool
    assert type(m.setdefault("i", 0)) is not int


# Containers

VALUE = {"d": {"a": 1, "b": [1, 2, 3]}, "l": [3, 1, {"x": 1}], "s": {1, 2}, "w": {"a", "b"}}
CHANGES = {
    "append": lambda v: v["l"].append("x"),
    "extend": lambda v: v["d"]["b"].extend(iter([7, 8])),
    "extend nothing": lambda v: v["d"]["b"].extend([]),
    "insert": lambda v: v["l"].insert(1, None),
    "remove": lambda v: v["l"].remove(1),
    "list pop": lambda v: v["l"].pop(),
    "list pop 0": lambda v: v["l"].pop(0),
    "list clear": lambda v: v["l"].clear(),
    "sort": lambda v: v["d"]["b"].sort(reverse=True),
    "sort by key": lambda v: v["d"]["b"].sort(key=lambda n: -n),
    "reverse": lambda v: v["l"].reverse(),
    "set item": lambda v: v["l"].__setitem__(0, 5),
    "set last": lambda v: v["l"].__setitem__(-1, {"y": 2}),
    "set slice": lambda v: v["l"].__setitem__(slice(0, 2), iter("abc")),
    "del item": lambda v: v["l"].__delitem__(1),
    "del last": lambda v: v["l"].__delitem__(-1),
    "del slice": lambda v: v["l"].__delitem__(slice(1, None)),
    "in a list": lambda v: v["l"][2].update(x=2, z=3),
    "dict set": lambda v: v["d"].__setitem__("c", 0.5),
    "dict set again": lambda v: v["d"].__setitem__("a", [1]),
    "dict set odd name": lambda v: v["d"].__setitem__("!a.b", 1),
    "dict set no name": lambda v: v["d"].__setitem__("", 1),
    "dict set other key": lambda v: v["d"].__setitem__(7, 1),
    "dict del": lambda v: v["d"].__delitem__("a"),
    "dict pop": lambda v: v["d"].pop("a"),
    "dict pop fallback": lambda v: v["d"].pop("z", 9),
    "popitem": lambda v: v["d"].popitem(),
    "dict clear": lambda v: v["d"].clear(),
    "update": lambda v: v["d"].update({"q": 1}, r=2),
    "update nothing": lambda v: v["d"].update(),
    "setdefault": lambda v: v["d"].setdefault("z", [1]),
    "setdefault there": lambda v: v["d"].setdefault("a", 5),
    "whole set": lambda v: v.__setitem__("new", {"n": [1]}),
    "whole del": lambda v: v.__delitem__("s"),
    "add": lambda v: v["s"].add(3),
    "add other type": lambda v: v["s"].add("x"),
    "add str": lambda v: v["w"].add("c"),
    "set update": lambda v: v["s"].update([4], {5}),
    "discard": lambda v: v["s"].discard(1),
    "discard absent": lambda v: v["s"].discard(9),
    "set remove": lambda v: v["s"].remove(2),
    "set clear": lambda v: v["s"].clear(),
    "difference": lambda v: v["s"].difference_update({1, 2}),
    "intersection": lambda v: v["s"].intersection_update({1}, [1, 2]),
    "symmetric": lambda v: v["s"].symmetric_difference_update([1, 9]),
}
FAILURES = {
    "list index": (IndexError, lambda v: v["l"].__setitem__(9, 1)),
    "list del": (IndexError, lambda v: v["l"].__delitem__(9)),
    "list pop": (IndexError, lambda v: v["l"].pop(9)),
    "list remove": (ValueError, lambda v: v["l"].remove("no")),
    "dict del": (KeyError, lambda v: v["d"].__delitem__("no")),
    "dict pop": (KeyError, lambda v: v["d"].pop("no")),
    "set remove": (KeyError, lambda v: v["s"].remove(9)),
    "unhashable": (TypeError, lambda v: v["s"].add([])),
    "no number": (TypeError, lambda v: v["l"].__iadd__(5)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_is_made_where_it_is_stored(m, change):
    """A method does to the store and the copy what it does to Python's container."""
    wanted, before = deepcopy(VALUE), {**deepcopy(VALUE), "more": 0}
    result = change(wanted)
    m["k"] = VALUE
    value = m["k"]
    m.transform("k", lambda _: before)  # somebody else, meanwhile
    assert change(value) == result
    assert plain(m, "k") == {**wanted, "more": 0}
    assert {**value, "more": 0} == {**wanted, "more": 0}


@pytest.mark.parametrize(("error", "change"), FAILURES.values(), ids=FAILURES)
def test_what_python_raises(m, error, change):
    """What Python's container raises is raised, and nothing is written."""
    with pytest.raises(error):
        change(deepcopy(VALUE))
    m["k"] = VALUE
    etag = m.entry("k").etag
    with pytest.raises(error):
        change(m["k"])
    assert m.entry("k").etag == etag


def test_a_path_that_is_gone_or_of_another_type(m):
    """KeyError, IndexError, AttributeError or TypeError, as the stored value would raise."""
    m["k"] = {"l": [[1]], "d": {}}
    value = m["k"]
    inner, outer, names = value["l"][0], value["l"], value["d"]
    m["k"] = {"l": []}
    with pytest.raises(IndexError):
        inner.append(2)
    with pytest.raises(KeyError):
        names["a"] = 1
    m["k"] = {"l": "text", "d": set()}
    with pytest.raises(AttributeError):
        outer.append(2)
    with pytest.raises(TypeError):
        names["a"] = 1
    with pytest.raises(TypeError):
        names.update(a=1)
    m["k"] = 5
    with pytest.raises(TypeError):
        names["a"] = 1
    del m["k"]
    with pytest.raises(KeyError):
        outer.append(2)
    assert "k" not in m


def test_in_place_operators(m):
    """``+=``, ``|=``, ``-=``, ``&=``, ``^=``, ``*=`` change the store once, not overwrite it."""
    m["k"], m["s"] = {"l": [1], "n": 1, "d": {}}, {1, 2}
    for holder in (m["k"], m["k"]):
        holder["l"] += [2]
        holder["n"] += 1
        holder["d"] |= {"a": 1}
    assert plain(m, "k") == {"l": [1, 2, 2], "n": 3, "d": {"a": 1}}
    one, two = m["s"], m["s"]
    one |= {3}
    two |= {4}
    m["s"] = one
    m["s"] = two
    assert plain(m, "s") == {1, 2, 3, 4}
    m["s"] -= {1}
    m["s"] &= {2, 3}
    m["s"] ^= {3, 5}
    assert plain(m, "s") == {2, 5}
    m["k"]["l"] *= 2
    assert plain(m, "k")["l"] == [1, 2, 2, 1, 2, 2]
    m["s"] = one  # the second time: an assignment
    assert plain(m, "s") == {1, 2, 3}
    with pytest.raises(TypeError):
        m["s"] |= [1]


def test_nested_numbers(m):
    """Numbers in dicts and lists, at depths 1 to 3 and in tuples' dicts, take sums."""
    m["k"] = {"a": 1, "b": {"c": 1.5, "d": [1]}, "t": ({"x": 1},), 7: 1}
    first, second = m["k"], m["k"]
    for value in (first, second):
        value["a"] += 1
        value["b"]["c"] += 1
        value["b"]["d"][0] += 10
        value["b"]["d"][-1] += 10
        value["t"][0]["x"] += 1
        value[7] += 1
    assert value == plain(m, "k")
    assert value == {"a": 3, "b": {"c": 3.5, "d": [41]}, "t": ({"x": 3},), 7: 3}
    assert first["a"].increment(5) == 8
    assert first["a"].decrement() == 7
    with pytest.raises(KeyError):
        first["gone"] += 1


def test_live_however_they_are_read(m):
    """Containers are live from every way of reading; setdefault's are the stored ones."""
    m["k"] = [0]
    reads = (
        lambda: m["k"],
        lambda: m.get("k"),
        lambda: m.get_many(["k"])["k"],
        lambda: next(iter(m.values())),
        lambda: dict(m.items())["k"],
        lambda: m.entry("k").value,
        lambda: m.setdefault("k", []),
        lambda: m.copy()["k"],
        lambda: asyncio.run(m.aget("k")),
    )
    for number, read in enumerate(reads, 1):
        read().append(number)
    assert plain(m, "k") == list(range(len(reads) + 1))
    m.setdefault("new", []).append(1)
    m.setdefault("new", []).append(2)
    assert m["new"] == [1, 2]


def test_what_is_made_of_them_is_plain(m):
    """Slices, sums, unions and what is taken out are plain, and storing one stores its value."""
    m["l"], m["d"], m["s"] = [1, [2]], {"a": {"b": 1}}, {1}
    made = [m["l"][:], m["l"] + [], m["l"].copy(), m["d"] | {}, m["d"].copy(), m["s"] | {2}]
    made += [m["s"].copy(), m["l"].pop(), m["d"].pop("a")]
    assert {type(each) for each in made} == {list, dict, set}
    m["d"]["l"] = m["l"]
    m["l"].append(5)
    m["copy"] = m["l"]
    m["n"] = {m["l"][0]: m["l"][0]}
    assert (plain(m, "d"), plain(m, "copy"), plain(m, "n")) == ({"l": [1]}, [1, 5], {1: 1})


def test_what_no_value_can_be_is_refused(m):
    """A part that cannot be stored is refused before anything is written."""
    m["k"] = {"l": [], "s": {1}}
    for change in (
        lambda: m["k"]["l"].append(object()),
        lambda: m["k"]["s"].add("\ud800"),
        lambda: m["k"].update(a=object()),
    ):
        with pytest.raises(ValueEncodingError):
            change()
    assert m["k"] == {"l": [], "s": {1}}
    deep = value = []
    for _ in range(28):
        value.append([])
        value = value[0]
    m["deep"] = deep
    held = m["deep"]
    while held:
        held = held[0]
    with pytest.raises(ValueEncodingError):
        held.append([[[[[]]]]])


def test_async_twins(m):
    """Every changing method and ``increment`` has an a-twin that does the same."""

    async def main():
        m["k"] = {"l": [3, 1], "d": {"a": 1}, "s": {1}, "n": 1}
        value = await m.agetitem("k")
        lists, names, members = value["l"], value["d"], value["s"]
        await lists.aappend(2)
        await lists.aextend([5])
        await lists.ainsert(0, 9)
        await lists.aremove(9)
        await lists.asetitem(0, 7)
        await lists.asetitem(slice(1, 2), [4])
        await lists.adelitem(1)
        await lists.asort()
        await lists.areverse()
        assert await lists.apop() == 2
        await names.asetitem("b", 2)
        await names.adelitem("a")
        await names.aupdate(c=3)
        assert await names.asetdefault("d", []) == []
        assert await names.apop("c") == 3
        assert await names.apopitem() == ("d", [])
        await members.aadd(2)
        await members.aupdate({3, 4})
        await members.adiscard(1)
        await members.aremove(2)
        await members.adifference_update({3})
        await members.asymmetric_difference_update({5})
        await members.aintersection_update({4})
        assert await value["n"].aincrement(4) == 5
        assert await value["n"].adecrement() == 4
        assert plain(m, "k") == {"l": [7, 5], "d": {"b": 2}, "s": {4}, "n": 4}
        await lists.aclear()
        await names.aclear()
        assert await members.apop() == 4
        await members.aclear()
        assert plain(m, "k") == {"l": [], "d": {}, "s": set(), "n": 4}

    asyncio.run(main())


def test_sets(engine):
    """A missing key reads as the empty set; members of any types come and go."""
    m = LPCMSet("m", using=engine)
    assert m["k"] == set()
    m.insert_values("k", {1, 2})
    m.insert_values("k", ["x", (1,)])
    assert m["k"] == {1, 2, "x", (1,)}
    m.remove_values("k", {1, 2, "x", (1,), "never"})
    assert m["k"] == set()
    assert "k" in m
    m.remove_values("gone", {1})
    assert "gone" not in m
    m["j"] |= {3}
    m["j"].add(4)
    assert m["j"] == {3, 4}
    asyncio.run(m.ainsert_values("j", {5}))
    asyncio.run(m.aremove_values("j", {3}))
    assert m["j"] == {4, 5}
    assert type(pickle.loads(pickle.dumps(LPCMSet("m")))) is LPCMSet
    m["l"] = [1, 1, 2]
    m.set_many({"t": ("a",), "f": frozenset({None})})
    assert m.get_many("ltf") == {"l": {1, 2}, "t": {"a"}, "f": {None}}
    for refused in (17, "text", {"a": 1}):
        with pytest.raises(TypeError, match="a map of sets takes"):
            m["l"] = refused
        with pytest.raises(TypeError, match="a map of sets takes"):
            asyncio.run(m.aset("l", refused))
        with pytest.raises(TypeError, match="a map of sets takes"):
            m.set_many({"t": set(), "l": refused})
    assert m.get_many("lt") == {"l": {1, 2}, "t": {"a"}}


def test_most_common(m):
    """The greatest values first, as many as asked for."""
    m.update(a=1, b=3, c=2)
    assert m.most_common(2) == [("b", 3), ("c", 2)]
    assert m.most_common() == [("b", 3), ("c", 2), ("a", 1)]
    assert asyncio.run(m.amost_common(1)) == [("b", 3)]


def test_threads_lose_nothing(m):
    """Eight threads' ``+=``, nested ``+=``, ``append``, ``|=`` and ``transform`` all count."""
    each = 25
    m.update(n=0, u={"n": 0, "l": []}, s={-1}, t=0)
    barrier = threading.Barrier(8)

    def client(number):
        barrier.wait()
        for turn in range(each):
            mark = number * each + turn
            m["n"] += 1
            m["u"]["n"] += 1
            m["u"]["l"].append(mark)
            m["s"] |= {mark}
            m.transform("t", lambda n: n + 1)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(client, range(8)))
    total = 8 * each
    assert (m["n"], m["u"]["n"], m["t"]) == (total, total, total)
    assert sorted(m["u"]["l"]) == list(range(total))
    assert m["s"] == {-1, *range(total)}
