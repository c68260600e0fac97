"""Named tuples of lpcm's own are what typing's are."""

from __future__ import annotations

import copy
import pickle
import typing

import pytest

from lpcm.system import records


class Typings(typing.NamedTuple):
    """Two fields."""

    first: int
    second: str | None = None

    @property
    def both(self) -> tuple[int, str | None]:
        """Return both."""
        return self.first, self.second


class Own(records.NamedTuple):
    """Two fields."""

    first: int
    second: str | None = None

    @property
    def both(self) -> tuple[int, str | None]:
        """Return both."""
        return self.first, self.second


@pytest.mark.parametrize("kind", [Typings, Own])
def test_it_is_a_named_tuple(kind: type[typing.Any]):
    """Fields, defaults, methods, texts, copies and type hints are those of typing's."""
    made = kind(1)
    assert made == (1, None) == kind(first=1, second=None)
    assert repr(made) == f"{kind.__name__}(first=1, second=None)"
    assert made._replace(second="x").both == (1, "x")
    assert (kind._fields, kind._field_defaults) == (("first", "second"), {"second": None})
    assert (kind.__doc__, kind.__module__, kind.__bases__) == ("Two fields.", __name__, (tuple,))
    assert kind.first.__doc__ == "Alias for field number 0"
    assert pickle.loads(pickle.dumps(made)) == copy.deepcopy(made) == made
    assert type(copy.copy(made)) is kind
    assert typing.get_type_hints(kind) == {"first": int, "second": str | None}
    with pytest.raises(TypeError):
        kind()
    with pytest.raises(AttributeError):
        made.first = 2
