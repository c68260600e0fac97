"""Recorded histories of real processes are linearizable, and the checkers know what is not."""

import random
from itertools import pairwise, permutations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.consistency import workers
from tests.consistency.processes import crew, until
from tests.consistency.register_history import (
    Op,
    by_key,
    check,
    check_single_writer,
    load,
    step,
)


def test_one_writer_three_readers(tmp_path):
    """What three processes read while a fourth writes is linearizable, however they read."""
    path, seconds, keys = tmp_path / "m.sqlite3", 3, 3
    logs = [tmp_path / f"log{number}" for number in range(4)]
    roles = [workers.write_rising, *[workers.read_rising] * 3]
    with crew() as processes:
        processes.wait(
            *[
                processes.start(role, path, log, seconds, keys)
                for role, log in zip(roles, logs, strict=True)
            ]
        )
    ops = [op for log in logs for op in load(log)]
    assert sum(op.kind == "set" for op in ops) > 100
    assert sum(bool(op.result) for op in ops if op.kind == "get") > 1000
    assert check_single_writer(ops) is None
    reject_corruptions(ops, check_single_writer)


def test_four_writers(tmp_path):
    """Everything four processes do to the same keys, one of them killed, is linearizable."""
    path, go, times, keys = tmp_path / "m.sqlite3", tmp_path / "go", 4000, 2
    logs = [tmp_path / f"log{number}" for number in range(5)]

    def start(processes, number):
        """Start one with values of its own."""
        return processes.start(
            workers.work_on_registers, path, logs[number], go, times, keys, (number + 1) * 10**8
        )

    with crew() as processes:
        *others, victim = [start(processes, number) for number in range(4)]
        until(lambda: all(log.exists() for log in logs[:4]))
        go.touch()
        until(lambda: len(load(logs[3])) >= 300)
        processes.kill(victim)
        processes.wait(*others, start(processes, 4))
    ops = [op for log in logs for op in load(log)]
    assert len(ops) >= 4 * times + 300
    assert overlapping(ops) > 50, "the processes hardly met"
    assert check(ops) is None
    reject_corruptions(ops, check)


def overlapping(ops):
    """Count the operations during which another began on the same key."""
    count = 0
    for history in by_key(ops).values():
        starts = sorted(op.invoked for op in history)
        ends = {op.invoked: op.responded or op.invoked for op in history}
        count += sum(later < ends[one] for one, later in pairwise(starts))
    return count


def reject_corruptions(ops, checker):
    """Give some reads a value of long before or after; the checker must find each of them."""
    gets = sorted((op for op in ops if op.kind == "get" and op.responded), key=lambda o: o.invoked)
    middle = gets[len(gets) * 2 // 5 : len(gets) * 3 // 5]
    for op in random.Random(1).sample(middle, 5):
        others = [other for other in ops if other.key == op.key and other is not op]
        sets = sorted((o for o in others if o.kind == "set"), key=lambda o: o.invoked)
        assert sets[0].responded < op.invoked
        assert sets[-1].invoked > op.responded
        for wrong in (sets[0], sets[-1]):
            corrupted = op._replace(result=wrong.argument)
            assert checker([*others, corrupted]) is not None


def op(kind, value, invoked, responded):
    """Make an operation on the key ``k``; the value is the argument of a write."""
    if kind in {"get", "pop"}:
        return Op("k", kind, None, value, invoked, responded)
    return Op("k", kind, value, None, invoked, responded)


VALID = {
    "empty": [],
    "absent": [op("get", None, 0, 1), op("set", 1, 2, 3)],
    "either of two that overlap": [op("set", 1, 0, 10), op("get", 1, 1, 9), op("get", None, 0, 5)],
    "old while it is written": [op("set", 1, 0, 1), op("set", 2, 2, 9), op("get", 1, 3, 4)],
    "seen before acknowledged": [op("set", 1, 0, 9), op("get", 1, 1, 2), op("get", 1, 3, 4)],
    "died and done": [op("set", 1, 0, None), op("get", None, 1, 2), op("get", 1, 50, 51)],
    "died and not done": [op("set", 1, 0, None), op("get", None, 1, 2)],
    "touching times": [op("set", 1, 0, 5), op("get", None, 5, 6)],
}
INVALID = {
    "stale": [op("set", 1, 0, 1), op("set", 2, 2, 3), op("get", 1, 4, 5)],
    "lost": [op("set", 1, 0, 1), op("get", None, 2, 3)],
    "from the future": [op("get", 1, 0, 1), op("set", 1, 2, 3)],
    "from nowhere": [op("set", 1, 0, 1), op("get", 7, 2, 3)],
    "going back": [op("set", 1, 0, 9), op("get", 1, 1, 2), op("get", None, 3, 4)],
    "undone after a death": [
        op("set", 1, 0, None),
        op("get", 1, 1, 2),
        op("get", None, 3, 4),
    ],
}


@pytest.mark.parametrize("checker", [check, check_single_writer])
@pytest.mark.parametrize("name", VALID)
def test_valid(checker, name):
    """A history that some order explains is accepted."""
    assert checker(VALID[name]) is None


@pytest.mark.parametrize("checker", [check, check_single_writer])
@pytest.mark.parametrize("name", INVALID)
def test_invalid(checker, name):
    """A history that no order explains is rejected, by an operation of it."""
    assert checker(INVALID[name]) in INVALID[name]


@pytest.mark.parametrize(
    ("ops", "valid"),
    [
        ([op("set", 1, 0, 1), op("pop", 1, 2, 5), op("pop", None, 2, 5)], True),
        ([op("set", 1, 0, 1), op("pop", 1, 2, 5), op("pop", 1, 2, 5)], False),
        ([Op("k", "increment", 1, 1, 0, 5), Op("k", "increment", 1, 2, 0, 5)], True),
        ([Op("k", "increment", 1, 1, 0, 5), Op("k", "increment", 1, 1, 0, 5)], False),
        ([Op("k", "setdefault", 1, 2, 0, 5), Op("k", "setdefault", 2, 2, 0, 5)], True),
        ([Op("k", "setdefault", 1, 1, 0, 5), Op("k", "setdefault", 2, 2, 0, 5)], False),
        ([Op("k", "set", 1, None, 0, 5), Op("k", "remove", None, False, 0, 5)], True),
        ([Op("k", "set", 1, None, 0, 5), Op("k", "remove", None, False, 6, 7)], False),
        ([Op("a", "set", 1, None, 0, 5), Op("b", "get", None, 1, 6, 7)], False),
    ],
)
def test_every_operation(ops, valid):
    """The general checker knows what each operation returns."""
    assert (check(ops) is None) == valid


@st.composite
def histories(draw, kinds, most=6):
    """Draw a linearizable history: operations of known effect around known instants."""
    ops, value, number = [], None, 0
    for instant in range(draw(st.integers(1, most))):
        kind = draw(st.sampled_from(kinds))
        argument = None
        if kind in {"set", "setdefault", "increment"}:
            number += 1
            argument = number
        before, after = draw(st.integers(0, 25)), draw(st.integers(0, 25))
        if kind == "set" and kinds == ["set", "get"]:
            before, after = min(before, 4), min(after, 4)  # one writer: one after another
        bare = Op("k", kind, argument, None, 10 * instant - before, None)
        _, now = step(bare, value)
        result = {
            "get": value,
            "pop": value,
            "remove": value is not None,
            "setdefault": now,
            "increment": now,
        }.get(kind)
        ops.append(bare._replace(result=result, responded=10 * instant + after))
        value = now
    return draw(st.permutations(ops))


ANY = ["set", "get", "delete", "pop", "remove", "setdefault", "increment"]


def explained(ops):
    """Tell by trying every order of them whether a history is linearizable; all responded."""
    for order in permutations(ops):
        if any(
            later.responded < earlier.invoked
            for place, earlier in enumerate(order)
            for later in order[place + 1 :]
        ):
            continue
        value, possible = None, True
        for each in order:
            possible, value = step(each, value)
            if not possible:
                break
        if possible:
            return True
    return False


@given(histories(ANY, 40))
def test_whatever_happened_is_accepted(ops):
    """A history made from instants is accepted."""
    assert check(ops) is None


@given(histories(["set", "get"], 40))
def test_whatever_one_writer_did_is_accepted(ops):
    """A history made from instants, with one writer, is accepted by both checkers."""
    assert check(ops) is None
    assert check_single_writer(ops) is None


@given(histories(ANY), st.data())
def test_exact(ops, data):
    """With any result changed, the general checker says what trying every order says."""
    index = data.draw(st.integers(0, len(ops) - 1))
    result = data.draw(st.sampled_from([None, 1, 2, 3, 4, 5, 6, 9]))
    assume(ops[index].kind not in {"set", "delete", "remove"})
    changed = [*ops[:index], ops[index]._replace(result=result), *ops[index + 1 :]]
    assert (check(changed) is None) == explained(changed)


@given(histories(["set", "get"], 12), st.data())
def test_the_checkers_agree(ops, data):
    """With any reads changed, the checker of one writer says what the general one says."""
    values = st.sampled_from([None, *range(1, 14)])
    changed = [
        each._replace(result=data.draw(values))
        if each.kind == "get" and data.draw(st.booleans())
        else each
        for each in ops
    ]
    assert (check_single_writer(changed) is None) == (check(changed) is None)


@given(histories(["set", "get"], 12), st.integers(0, 11))
def test_the_checkers_agree_on_the_dead(ops, index):
    """So it is where the writer died in its last write."""
    last = max((each for each in ops if each.kind == "set"), default=None, key=lambda o: o.argument)
    dead = [each._replace(responded=None) if each is last else each for each in ops]
    gets = [place for place, each in enumerate(dead) if each.kind == "get"]
    assume(gets)
    place = gets[index % len(gets)]
    dead[place] = dead[place]._replace(result=None if last is None else last.argument)
    assert (check_single_writer(dead) is None) == (check(dead) is None)
