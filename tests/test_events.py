"""Events: which listener gets which, and that operations cost nothing without one."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from lpcm import LPCM, Engine, StoreError
from lpcm.events import Event, Operation, Request, emit, has_listeners, meter, recorded, subscribe

REQUEST = Request("dynamodb", "http://localhost:8000", "GetItem", 0.5)


@pytest.fixture
def m() -> LPCM[Any, Any]:
    """Return a map of its own."""
    return LPCM("m", using=Engine.open("memory://"))


def test_a_listener_gets_the_kinds_it_asked_for(m: LPCM[Any, Any]):
    """Without kinds a listener gets every event but operations; with them, those alone."""
    others: list[Event] = []
    operations: list[Event] = []
    with subscribe(others.append), subscribe(operations.append, Operation):
        emit(REQUEST)
        m["k"] = 1
    emit(REQUEST)
    m["k"] = 2
    assert others == [REQUEST]
    assert operations == [operations[0]] * 2


def test_an_operation_begins_and_ends(m: LPCM[Any, Any]):
    """It is emitted before it is done and after, with keys, changes and what became of them."""
    seen: list[tuple[Any, ...]] = []

    def look(operation: Operation) -> None:
        seen.append((operation.ended, len(operation.applied), operation.changes))

    with subscribe(look, Operation), recorded() as done:
        m["k"] = 1
        m.add("k", 2)
        m.update({"a": 1, "b": 2})
        del m["a"]
    assert seen[:2] == [(False, 0, ["set"]), (True, 1, ["set"])]
    assert [each.applied for each in done] == [[True], [False], [True, True], [True]]
    assert [each.keys for each in done] == [["k"], ["k"], ["a", "b"], ["a"]]
    assert [each.location for each in done] == ["memory://"] * 4


def test_a_listener_prevents_an_operation(m: LPCM[Any, Any]):
    """What a listener raises at the beginning reaches the caller, and nothing is written."""

    def refuse(operation: Operation) -> None:
        raise PermissionError(operation.kind)

    with subscribe(refuse, Operation), pytest.raises(PermissionError, match="write"):
        m["k"] = 1
    assert "k" not in m


def test_an_operation_that_fails_has_its_error(m: LPCM[Any, Any]):
    """The class of the exception is the operation's error, and nothing counts as applied."""
    m["k"] = 1
    m._use()._engine.close()
    with recorded() as done, pytest.raises(StoreError):
        m["k"] = 2
    assert [(each.error, each.applied) for each in done] == [("StoreError", ())]


def test_recordings_nest_and_keep_to_their_thread(m: LPCM[Any, Any]):
    """A recording has its own thread's operations, those of recordings within it included."""
    with recorded() as outer:
        m["a"] = 1
        with recorded() as inner:
            m["b"] = 2
        thread = threading.Thread(target=m.get, args=("a",))
        thread.start()
        thread.join()
    assert [each.keys for each in outer] == [["a"], ["b"]]
    assert [each.keys for each in inner] == [["b"]]


def test_maps_that_nobody_observes_work_on_their_tier(m: LPCM[Any, Any]):
    """Only a listener to operations makes a map emit them: a meter does not, nor one that went."""
    with meter():
        m["k"] = 1
        assert m._use()._tier is m._use()._engine.stack.tier
    with recorded():
        m["k"] = 2
        assert m._use()._tier is not m._use()._engine.stack.tier
    assert m._use()._tier is m._use()._engine.stack.tier
    assert not has_listeners(Operation)
