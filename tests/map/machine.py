"""A state machine that does to maps whatever can be done, and to a model of them the same.

``machine(open_engine)`` is a Hypothesis ``RuleBasedStateMachine`` for any store, and ``check``
runs it. Two engines on the store, which may each be closed and opened
again, and several handles of one map, with and without defaults, are held to one
``model.Model``: by the result of each step, and by all entries after each.
"""

# ruff: noqa: PLR0917  # a rule's arguments are named where it is declared

from __future__ import annotations

import asyncio
import pickle
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from lpcm import LPCM, Conflict
from lpcm.testing import FakeClock
from tests import strategies
from tests.map.model import Model
from tests.strategies import as_map_key, fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable

    from lpcm import Engine

TWINS = {
    "__getitem__": "agetitem",
    "__setitem__": "aset",
    "__delitem__": "adelitem",
    "__contains__": "acontains",
    "__len__": "alen",
}
FACES: dict[str, dict[str, Any]] = {
    "plain": {},
    "zero": {"default": 0},
    "half": {"default": 0.5},
    "list": {"default": list},
    "ttl": {"ttl": 30},
}
DELTAS = [1, -1, 0, True, 2**63 - 1, 10**38, 0.5, -0.0, Decimal("0.1"), Decimal("1E+50"), "1", None]
NUMBERS = [0, 1, -7, True, 2**63 - 1, -(2**63), 10**38, 1.5, Decimal("1.10")]


def fail(value: Any) -> Any:
    raise ZeroDivisionError(value)


CHANGES: list[Callable[[Any], Any]] = [
    lambda value: value,
    lambda value: value[:1] if isinstance(value, list) else [value],
    lambda _: None,
    lambda value: {"was": value} if isinstance(value, int | str) else "other",
    fail,
]

AFTER_EXPIRY: list[tuple[Any, ...]] = [
    ("__getitem__",),
    ("get",),
    ("__contains__",),
    ("ttl",),
    ("setdefault", 7),
    ("replace", 7),
    ("__delitem__",),
    ("delete",),
    ("pop",),
    ("expire", 60),
    ("touch", 60),
    ("add", 7),
    ("get_or_add", 7),
    ("increment",),
    ("increment_existing",),
    ("increment", 0.5),
    ("decrement", 2),
    ("transform", CHANGES[3], 7),
]

# Keys that are equal to one, and keys that look like it.
ALIKE: list[Callable[[Any], Any]] = [
    lambda key: float(key) if isinstance(key, int) and abs(key) < 2**53 else key,
    lambda key: Decimal(key) if isinstance(key, int | float) else key,
    lambda key: bool(key) if key in {0, 1} else key,
    lambda key: str(key) if len(str(key)) < 100 else key,
    lambda key: str(key).encode() if len(str(key)) < 100 else key,
    lambda key: (key,) if len(repr(key)) < 50 else key,
    lambda key: f"{key}\x00" if isinstance(key, str) and len(key) < 100 else key,
    lambda key: (
        key.astimezone(ZoneInfo("Asia/Kathmandu"))
        if isinstance(key, datetime) and key.utcoffset() is not None and 1900 < key.year < 2100
        else key
    ),
]

faces = st.sampled_from(sorted(FACES))
sides = st.integers(0, 1)
asynchronous = st.booleans()
ttls = st.sampled_from([None, 5, 60, timedelta(minutes=1), 0.5])
numbers = count()


def pairs(found: Any) -> Any:
    """Return the fingerprint of pairs of keys and values, in order."""
    return [(as_map_key(key), fingerprint(value)) for key, value in found]


def reflexive(value: Any) -> bool:
    """Tell whether a copy of a value equals it: one with a nan somewhere does not."""
    try:
        return bool(pickle.loads(pickle.dumps(value)) == value)
    except ArithmeticError:  # a signalling nan
        return False


def hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def outcome(operation: Callable[[], Any]) -> Any:
    """Return what an operation returned, or else the class and arguments of its error."""
    try:
        return "returned", operation()
    except KeyError as error:
        return KeyError, error.args
    except ArithmeticError:
        return ArithmeticError, ()
    except (TypeError, Conflict) as error:
        return type(error), ()


def machine(open_engine: Callable[[FakeClock], Engine]) -> type[RuleBasedStateMachine]:
    """Return the machine of a store that this function opens, every time the same one."""

    class Machine(RuleBasedStateMachine):
        keys = Bundle("keys")
        values = Bundle("values")
        seen = Bundle("seen")
        operations = 0

        def __init__(self) -> None:
            super().__init__()
            self.clock = FakeClock()
            self.name = f"machine{next(numbers)}"
            self.model = Model(self.clock)
            self.models = {face: self.model.of(**options) for face, options in FACES.items()}
            self.engines: list[Any] = [None, None]
            self.maps: dict[Any, Any] = {}
            self.etags: dict[int, int] = {}
            self.runner = asyncio.Runner()
            self.open(0)
            self.open(1)

        def open(self, side: int) -> None:
            engine = self.engines[side] = open_engine(self.clock)
            for face, options in FACES.items():
                self.maps[side, face] = LPCM(self.name, live=False, using=engine, **options)

        def teardown(self) -> None:
            self.maps[0, "plain"].clear()
            for engine in self.engines:
                engine.close()
            self.runner.close()

        def act(self, side: int, face: str, await_: bool, name: str, /, *args: Any, **more: Any):
            """Call a method of a handle, or await its twin."""
            Machine.operations += 1
            target = self.maps[side, face]
            if not await_:
                return getattr(target, name)(*args, **more)
            return self.runner.run(getattr(target, TWINS.get(name, f"a{name}"))(*args, **more))

        def both(self, side: int, face: str, await_: bool, name: str, /, *args: Any, **more: Any):
            """Do it to the map and to the model: they return the same, or raise the same."""
            actual = outcome(lambda: self.act(side, face, await_, name, *args, **more))
            wanted = outcome(lambda: getattr(self.models[face], name)(*args, **more))
            assert actual[0] == wanted[0], (name, args, more, actual, wanted)
            if actual[0] is KeyError:
                assert name == "popitem" or actual == wanted, (actual, wanted)
                return
            one, two = actual[1], wanted[1]
            if name == "replace":
                one = two = None  # an etag: see `entry`
            if name == "get_or_add":
                one, two = ((entry.value, entry.expires, added) for entry, added in (one, two))
            shape = {"popitem": lambda pair: pairs([pair]), "get_many": lambda d: pairs(d.items())}
            shaped = shape.get(name, fingerprint)
            assert shaped(one) == shaped(two), (name, args, more, actual, wanted)

        @invariant()
        def all_entries_are_there(self) -> None:
            held = self.maps[0, "plain"]
            assert pairs(held.items()) == pairs(self.model.items())

        # The material

        @initialize(
            target=keys,
            some=st.lists(strategies.keys(), min_size=4, max_size=8),
            near=st.sampled_from([(), ("a", "ab", ("a", 1), b"a"), (9, 10, "9", 9.5, -1)]),
        )
        def first_keys(self, some: list[Any], near: tuple[Any, ...]):
            """Begin with keys of which every other one is there."""
            filled = [(key, number) for number, key in enumerate([*some, *near]) if number % 2]
            self.both(0, "plain", False, "set_many", filled)
            return multiple(*some, *near)

        @initialize(target=values, some=st.lists(strategies.values(), min_size=3, max_size=6))
        def first_values(self, some: list[Any]):
            return multiple(*some, *NUMBERS)

        @rule(target=keys, key=keys, alike=st.sampled_from(ALIKE))
        def another_key(self, key: Any, alike: Any) -> Any:
            return alike(key)

        @rule(target=values, value=strategies.values())
        def another_value(self, value: Any) -> Any:
            return value

        # The world

        @rule(seconds=st.sampled_from([0.5, 4.5, 5, 29, 30, 60]))
        def wait(self, seconds: float) -> None:
            self.clock.advance(seconds)

        @rule(side=sides)
        def reopen(self, side: int) -> None:
            Machine.operations += 1
            self.engines[side].close()
            self.open(side)

        # Reading

        @rule(s=sides, f=faces, a=asynchronous, key=keys)
        def getitem(self, s, f, a, key):
            self.both(s, f, a, "__getitem__", key)

        @rule(s=sides, f=faces, a=asynchronous, key=keys, default=st.lists(values, max_size=1))
        def get(self, s, f, a, key, default):
            self.both(s, f, a, "get", key, *default)

        @rule(s=sides, f=faces, a=asynchronous, key=keys)
        def contains(self, s, f, a, key):
            self.both(s, f, a, "__contains__", key)

        @rule(s=sides, f=faces, a=asynchronous, key=keys)
        def ttl(self, s, f, a, key):
            self.both(s, f, a, "ttl", key)

        @rule(s=sides, f=faces, a=asynchronous, some=st.lists(keys, max_size=6))
        def get_many(self, s, f, a, some):
            # Python calls the two passes of a repeated hour equal, so no dict has both.
            self.both(s, f, a, "get_many", list(dict.fromkeys(some)))

        @rule(target=seen, s=sides, f=faces, a=asynchronous, key=keys)
        def entry(self, s, f, a, key):
            held = self.model.held(key)
            actual = outcome(lambda: self.act(s, f, a, "entry", key))
            if held is None:
                assert actual == (KeyError, (key,))
                return multiple()
            found = actual[1]
            assert hasattr(found, "etag"), actual
            assert (found.key, found.expires) == (key, held.expires)
            assert fingerprint(found.value) == fingerprint(held.value)
            assert self.etags.setdefault(held.version, found.etag) == found.etag
            assert len(set(self.etags.values())) == len(self.etags), "two writes had one etag"
            return key, held.version, found.etag

        # Writing one key

        @rule(s=sides, f=faces, a=asynchronous, key=keys, value=values)
        def setitem(self, s, f, a, key, value):
            self.both(s, f, a, "__setitem__", key, value)

        @rule(s=sides, f=faces, a=asynchronous, key=keys, value=values, ttl=ttls)
        def set(self, s, f, a, key, value, ttl):
            self.both(s, f, a, "set", key, value, ttl=ttl)

        @rule(
            s=sides,
            f=faces,
            a=asynchronous,
            key=keys,
            value=st.lists(values, max_size=1),
            ttl=ttls,
        )
        def setdefault(self, s, f, a, key, value, ttl):
            self.both(s, f, a, "setdefault", key, *value, ttl=ttl)

        @rule(s=sides, f=faces, a=asynchronous, key=keys, value=values, ttl=ttls)
        def replace(self, s, f, a, key, value, ttl):
            self.both(s, f, a, "replace", key, value, ttl=ttl)

        @rule(s=sides, f=faces, a=asynchronous, seen=seen, value=values, ttl=ttls)
        def replace_if(self, s, f, a, seen, value, ttl):
            key, version, etag = seen
            held = self.model.held(key)
            actual = outcome(
                lambda: self.act(s, f, a, "replace", key, value, if_etag=etag, ttl=ttl)
            )
            if held is None or held.version != version:
                assert actual == (Conflict, ())
                return
            self.models[f].replace(key, value, ttl=ttl)
            self.etags[self.model.held(key).version] = actual[1]

        @rule(s=sides, f=faces, a=asynchronous, key=keys)
        def delitem(self, s, f, a, key):
            self.both(s, f, a, "__delitem__", key)

        @rule(s=sides, f=faces, a=asynchronous, key=keys)
        def delete(self, s, f, a, key):
            self.both(s, f, a, "delete", key)

        @rule(s=sides, f=faces, a=asynchronous, key=keys, default=st.lists(values, max_size=1))
        def pop(self, s, f, a, key, default):
            self.both(s, f, a, "pop", key, *default)

        @rule(s=sides, f=faces, a=asynchronous, last=st.booleans())
        def popitem(self, s, f, a, last):
            self.both(s, f, a, "popitem", last=last)

        @rule(s=sides, f=faces, a=asynchronous, key=keys, value=values, ttl=ttls)
        def add(self, s, f, a, key, value, ttl):
            self.both(s, f, a, "add", key, value, ttl=ttl)

        @rule(s=sides, f=faces, a=asynchronous, key=keys, value=values, ttl=ttls)
        def get_or_add(self, s, f, a, key, value, ttl):
            self.both(s, f, a, "get_or_add", key, value, ttl=ttl)

        @rule(
            s=sides,
            f=faces,
            a=asynchronous,
            name=st.sampled_from(["expire", "touch"]),
            key=keys,
            ttl=ttls,
        )
        def expire(self, s, f, a, name, key, ttl):
            self.both(s, f, a, name, key, ttl)

        @rule(
            s=sides,
            f=faces,
            a=asynchronous,
            key=keys,
            value=st.sampled_from(NUMBERS),
            waited=st.sampled_from([4.5, 5, 5, 6]),
            step=st.sampled_from(AFTER_EXPIRY),
        )
        def outlive(self, s, f, a, key, value, waited, step):
            """Let an entry expire, or nearly, and do something to its key."""
            self.both(s, f, a, "set", key, value, ttl=5)
            self.clock.advance(waited)
            name, *args = step
            self.both(1 - s, f, a, name, key, *args)

        @rule(
            s=sides,
            f=faces,
            a=asynchronous,
            name=st.sampled_from(["increment", "decrement"]),
            key=keys,
            delta=st.lists(st.sampled_from(DELTAS), max_size=1),
            ttl=ttls,
        )
        def increment(self, s, f, a, name, key, delta, ttl):
            self.both(s, f, a, name, key, *delta, ttl=ttl)

        @rule(s=sides, f=faces, a=asynchronous, key=keys, delta=st.sampled_from(DELTAS))
        def increment_existing(self, s, f, a, key, delta):
            self.both(s, f, a, "increment_existing", key, delta)

        @rule(
            s=sides,
            f=faces,
            a=asynchronous,
            key=keys,
            fn=st.sampled_from(CHANGES),
            default=st.lists(values, max_size=1),
            ttl=ttls,
        )
        def transform(self, s, f, a, key, fn, default, ttl):
            self.both(s, f, a, "transform", key, fn, *default, ttl=ttl)

        # Writing many keys

        @rule(
            s=sides,
            f=faces,
            a=asynchronous,
            entries=st.lists(st.tuples(keys, values), max_size=6),
            shape=st.sampled_from([list, dict]),
            ttl=ttls,
        )
        def set_many(self, s, f, a, entries, shape, ttl):
            self.both(s, f, a, "set_many", shape(entries), ttl=ttl)

        @rule(
            s=sides,
            f=faces,
            a=asynchronous,
            entries=st.lists(st.tuples(keys, values), max_size=3),
            more=st.dictionaries(st.sampled_from(["a", "ab", "self", "key"]), values, max_size=2),
        )
        def update(self, s, f, a, entries, more):
            self.both(s, f, a, "update", entries, **more)

        @rule(s=sides, f=faces, entries=st.dictionaries(keys, values, max_size=3))
        def inplace_or(self, s, f, entries):
            Machine.operations += 1
            held = self.maps[s, f]
            held |= entries
            assert held is self.maps[s, f]
            self.models[f].update(entries)

        @rule(s=sides, f=faces, some=st.lists(keys, max_size=4), value=values)
        def fromkeys(self, s, f, some, value):
            Machine.operations += 1
            made = LPCM.fromkeys(some, value, name=self.name, using=self.engines[s], **FACES[f])
            assert made == self.maps[s, f]
            self.models[f].set_many([(key, value) for key in some])

        @rule(s=sides, f=faces, a=asynchronous, some=st.lists(keys, max_size=4))
        def delete_many(self, s, f, a, some):
            self.both(s, f, a, "delete_many", some)

        @rule(s=sides, f=faces, a=asynchronous, really=st.integers(0, 4))
        def clear(self, s, f, a, really):
            if really == 4:  # seldom, for a map that is mostly empty shows little
                self.both(s, f, a, "clear")

        # The whole map

        @rule(s=sides, f=faces, a=asynchronous)
        def length(self, s, f, a):
            self.both(s, f, a, "__len__")
            assert self.act(s, f, a, "bool" if a else "__bool__") == bool(self.model.items())

        @rule(s=sides, f=faces, a=asynchronous)
        def copy(self, s, f, a):
            copied = self.act(s, f, a, "copy")
            assert type(copied) is dict
            assert pairs(copied.items()) == pairs(self.model.items())

        @rule(
            s=sides,
            f=faces,
            a=asynchronous,
            prefix=st.none() | keys,
            length=st.integers(0, 3),
            start=st.none() | keys,
            stop=st.none() | keys,
            reverse=st.booleans(),
        )
        def walk(self, s, f, a, prefix, length, start, stop, reverse):
            """Walk a range through each of the views."""
            prefix = as_map_key(prefix)
            part: dict[str, Any] = {"start": start, "stop": stop, "reverse": reverse}
            if isinstance(prefix, str | bytes | tuple):
                part["prefix"] = prefix[:length]
            wanted = self.model.items(**part)
            held = self.maps[s, f]
            Machine.operations += 3
            if a:
                keys, values, items = self.runner.run(walked(held, part))
            else:
                keys, values = list(held.keys(**part)), list(held.values(**part))
                items = list(held.items(**part))
                for view, there in (
                    (held.keys(**part), keys),
                    (held.values(**part), values),
                    (held.items(**part), items),
                ):
                    assert len(view) == len(wanted)
                    assert fingerprint(list(reversed(view))) == fingerprint(there[::-1])
            assert pairs(items) == pairs(wanted)
            assert pairs(zip(keys, values, strict=True)) == pairs(wanted)

        @rule(s=sides, f=faces, a=asynchronous)
        def iterate(self, s, f, a):
            Machine.operations += 1
            held, wanted = self.maps[s, f], [key for key, _ in self.model.items()]
            if a:
                assert list(map(as_map_key, self.runner.run(iterated(held)))) == wanted
                return
            assert list(map(as_map_key, held)) == wanted
            assert list(map(as_map_key, reversed(held))) == wanted[::-1]

        @rule(s=sides, f=faces, value=values)
        def equality(self, s, f, value):
            Machine.operations += 1
            held, entries = self.maps[s, f], self.model.copy()
            if not all(map(reflexive, entries.values())):
                return
            assert held == entries
            assert entries == held
            assert held == self.maps[1 - s, "plain"]
            for key in entries:
                assert held != {**entries, key: [entries[key]]}
                assert held != {k: v for k, v in entries.items() if k != key}
            assert held != {**entries, ("no", "such", "key"): 1}
            if reflexive(value):
                there = any(value == each for each in entries.values())
                assert (value in held.values()) == there

        @rule(s=sides, f=faces, entries=st.dictionaries(keys.map(as_map_key), values, max_size=3))
        def union(self, s, f, entries):
            Machine.operations += 1
            held, own = self.maps[s, f], self.model.copy()
            assert pairs((held | entries).items()) == pairs((own | entries).items())
            assert pairs((entries | held).items()) == pairs((entries | own).items())

        @rule(
            s=sides,
            f=faces,
            some=st.lists(keys.map(as_map_key), max_size=4),
            start=st.none() | keys,
        )
        def set_operations(self, s, f, some, start):
            """Do to a range of the keys and the items what can be done to sets."""
            Machine.operations += 1
            held, part = self.maps[s, f], self.model.items(start=start)
            compare_sets(held.keys(start=start), {key for key, _ in part}, some)
            for key in some:
                assert (key in held.keys(start=start)) == any(key == k for k, _ in part)
            if all(reflexive(value) for _, value in part):
                for pair in [*part, ("no such key", 1)]:
                    assert (pair in held.items(start=start)) == (pair in part)
            if all(hashable(value) and reflexive(value) for _, value in part):
                own = {(key, value) for key, value in part}
                compare_sets(held.items(start=start), own, [*part[:2], ("no such key", 1)])

    return Machine


def compare_sets(view: Any, own: set[Any], some: list[Any]) -> None:
    """Compare the set operations of a view with those of the set it should be."""
    other = set(some)
    assert view & some == own & other
    assert other & view == own & other
    assert view | some == own | other
    assert view - some == own - other
    assert other - view == other - own
    assert view ^ some == own ^ other
    assert view.isdisjoint(some) == own.isdisjoint(other)
    assert (view == other, view <= other, view >= other) == (
        own == other,
        own <= other,
        own >= other,
    )


async def walked(held: Any, part: Any) -> tuple[list[Any], list[Any], list[Any]]:
    """Walk a range of a map through each of the awaitable views."""
    return (
        [key async for key in held.akeys(**part)],
        [value async for value in held.avalues(**part)],
        [pair async for pair in held.aitems(**part)],
    )


async def iterated(held: Any) -> list[Any]:
    """Walk a map."""
    return [key async for key in held]


def check(open_engine: Callable[[FakeClock], Engine], operations: int, **options: Any) -> None:
    """Run the machine of a store until it has done at least so many operations.

    ``options`` are those of Hypothesis' ``settings``. Raises what Hypothesis does: the first
    difference, with the steps that lead to it.
    """
    made: Any = machine(open_engine)
    while made.operations < operations:
        examples = (operations - made.operations) // 40 + 1
        common = {"stateful_step_count": 50, "suppress_health_check": list(HealthCheck)}
        run_state_machine_as_test(
            made, settings=settings(max_examples=examples, **{**common, **options})
        )
