"""The monitor that judges histories, against every order of small ones tried by brute force."""

from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from checks.explorer import linearizability as linearizable
from checks.explorer.linearizability import START, Call, perform


@st.composite
def histories(draw):
    """Return up to five calls on one key, with beginnings, ends and results of a small range."""
    calls = []
    for slot in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(["get", "put", "add", "join", "new", "claim", "del", "pop"]))
        argument = (
            draw(st.integers(1, 2)) if kind in {"put", "add", "join", "new", "claim"} else None
        )
        began = draw(st.integers(0, 6))
        ended = draw(st.none() | st.integers(began, 8))
        result = None if kind in {"put", "del"} else draw(st.sampled_from([None, 1, 2, 3]))
        calls.append((Call(slot, kind, argument), began, ended, result))
    return calls


def explained(history):
    """Tell whether any order explains it, trying each, with each choice of what took effect."""
    for order in permutations(history):
        for chosen in range(2 ** len(order)):
            picked = [each for at, each in enumerate(order) if chosen >> at & 1]
            if any(each[2] is not None and each not in picked for each in history):
                continue
            if any(
                later[2] is not None and later[2] < earlier[1]
                for at, earlier in enumerate(picked)
                for later in picked[at + 1 :]
            ):
                continue
            value, fits = None, True
            for call, _, ended, result in picked:
                value, returned = perform(call, value)
                fits = fits and (ended is None or returned == result)
            if fits:
                return True
    return False


def judged(history):
    """Tell what the monitor says, events of one moment with the beginnings first."""
    events = [(began, 0, call, result) for call, began, _, result in history]
    events += [(end, 1, call, result) for call, _, end, result in history if end is not None]
    configurations, under_way = START, []
    for _, is_end, call, result in sorted(events, key=lambda event: event[:2]):
        if is_end:
            configurations = linearizable.end(configurations, under_way, call, result)
            under_way.remove(call)
        else:
            under_way.append(call)
    return bool(configurations)


@settings(max_examples=300)
@given(histories())
def test_the_monitor_is_exact(history):
    """The monitor finds an order exactly where there is one."""
    assert judged(history) == explained(history)


def test_what_took_no_effect_is_withdrawn():
    """A write that surely was not done explains nothing."""
    write, read = Call(0, "put", 1), Call(1, "get")
    seen = linearizable.end(START, (write, read), read, 1)
    assert seen
    assert not linearizable.withdraw(seen, write)
    assert linearizable.withdraw(START, write) == START


def test_a_stale_read_returns_what_there_was():
    """In a history that remembers, a read may return any value there ever was, and no other."""
    start = frozenset({((None, 1, 2), frozenset())})
    for value in (None, 1, 2):
        assert linearizable.end_stale_read(start, (), value)
    assert not linearizable.end_stale_read(start, (), 3)
