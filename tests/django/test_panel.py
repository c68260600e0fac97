"""The toolbar's panel: which reads it calls repeated."""

from __future__ import annotations

from lpcm import LPCM
from lpcm.django.panels import _repeated
from lpcm.events import recorded


def test_repeated_means_repeated():
    """A read is repeated where each of its keys was read, and not written since."""
    m, other = LPCM("m"), LPCM("other")
    m.update({"a": 1, "b": 2, "c": 3})
    with recorded() as calls:
        expected = [
            (m.get("a"), False),
            (m.get("a"), True),
            (other.get("a"), False),
            (m.get_many(["a", "b"]), False),
            (m.get("b"), True),
            (m.get_many(["b", "a"]), True),
            (m.set("a", 2), False),
            (m.get("a"), False),
            (m.get("a"), True),
            (m.increment("b"), False),
            (m.get("b"), False),
            (m.keys().__len__(), False),
            (m.keys().__len__(), False),
            (m.clear(), False),
            (m.get("b"), False),
        ]
    assert _repeated(calls) == [repeated for _, repeated in expected]


def test_a_read_that_failed_has_read_nothing():
    """Trying again what failed is no repetition."""
    m = LPCM("m")
    m["a"] = 1
    with recorded() as calls:
        m.get("a")
        m.get("a")
    calls[0].error = "StoreUnavailable"
    assert _repeated(calls) == [False, False]
