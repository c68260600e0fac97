"""``pre_update`` and ``post_update``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from lpcm import LPCM, BatchError, Engine
from lpcm.django.signals import post_update, pre_update
from lpcm.events import Operation, has_listeners

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def heard() -> Iterator[list[tuple[Any, ...]]]:
    """Collect both signals."""
    sent: list[tuple[Any, ...]] = []

    def before(sender: object, map: str, key: object, action: str, **_: object) -> None:
        assert sender is LPCM
        sent.append(("pre", map, key, action))

    def after(sender: object, map: str, key: object, action: str, **_: object) -> None:
        assert sender is LPCM
        sent.append(("post", map, key, action))

    pre_update.connect(before)
    post_update.connect(after)
    yield sent
    pre_update.disconnect(before)
    post_update.disconnect(after)
    assert not has_listeners(Operation)


def test_every_change_is_told(heard: list[Any]):
    """Each change tells map, key and action, before it is made and when the store has it."""
    m = LPCM("m")
    changes: list[tuple[Any, Any, str]] = [
        (lambda: m.set(1, "x"), 1, "set"),
        (lambda: m.increment(("n", 1)), ("n", 1), "increment"),
        (lambda: m.increment(("n", 1), 0.5), ("n", 1), "increment"),
        (lambda: m.transform(1, str.upper), 1, "set"),
        (lambda: m.expire(1, 60), 1, "expire"),
        (lambda: m.setdefault("new", 0), "new", "set"),
        (lambda: m.delete("new"), "new", "delete"),
        (lambda: m.pop(1), 1, "delete"),
        (m.popitem, ("n", 1), "delete"),
        (m.clear, None, "clear"),
    ]
    for change, key, action in changes:
        heard.clear()
        change()
        assert heard == [("pre", "m", key, action), ("post", "m", key, action)]


def test_bulk_and_async(heard: list[Any]):
    """Bulk tells every key; a-twins tell as their counterparts."""
    m = LPCM("m")
    m.update(a=1, b=2)
    assert [(when, key) for when, _, key, _ in heard] == [
        ("pre", "a"),
        ("pre", "b"),
        ("post", "a"),
        ("post", "b"),
    ]
    heard.clear()
    asyncio.run(m.aset("k", 1))
    assert heard == [("pre", "m", "k", "set"), ("post", "m", "k", "set")]


def test_what_did_not_happen_is_not_told(heard: list[Any]):
    """What was refused or failed has no ``post_update``."""
    m = LPCM("m", using=Engine.open("memory://", max_value=10))
    m["k"] = 1
    heard.clear()
    m.delete("absent")
    m.setdefault("k", 2)
    m.get("k")
    assert {when for when, *_ in heard} == {"pre"}
    with pytest.raises(BatchError):
        m.update(good=1, bad="x" * 100)
    assert [each for each in heard if each[0] == "post"] == [("post", "m", "good", "set")]


def test_a_receiver_before_may_prevent(heard: list[Any]):
    """What a ``pre_update`` receiver raises is raised, and nothing is written."""

    def refuse(**_: object) -> None:
        raise PermissionError("not on Sundays")

    m = LPCM("m")
    pre_update.connect(refuse)
    try:
        with pytest.raises(PermissionError):
            m["k"] = 1
        with pytest.raises(PermissionError):
            m.clear()
    finally:
        pre_update.disconnect(refuse)
    assert "k" not in m


def test_a_receiver_after_changes_nothing(heard: list[Any], caplog: pytest.LogCaptureFixture):
    """What a ``post_update`` receiver raises is logged: the change was made."""

    def fail(**_: object) -> None:
        raise ValueError("too late")

    m = LPCM("m")
    post_update.connect(fail)
    try:
        m["k"] = 1
    finally:
        post_update.disconnect(fail)
    assert m["k"] == 1
    assert "too late" in caplog.text


def test_maps_without_receivers_are_not_watched():
    """Nothing stands between a map and its store where nobody listens."""
    m = LPCM("m")
    m["k"] = 1
    assert m._use()._tier is m._use()._engine.stack.tier
