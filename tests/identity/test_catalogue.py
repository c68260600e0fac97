"""What an engine knows of a map is true after each step of what it learns."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from lpcm import StoreTooNew
from lpcm.coherence.catalogue import DENIED, SHARDED, Catalogue, Identified
from lpcm.ports import MapInfo, MapState

MAP, NOW = "default/m/", 100.0
ONE = MapInfo("m")
STATES = {
    "nothing": MapState(None, None),
    "no map": MapState("a", None),
    "a map": MapState("a", ONE),
    "shards": MapState("a", MapInfo("m", SHARDED, shards=4)),
    "renewed": MapState("b", ONE),
    "denied": DENIED,
    "too new": MapState("a", MapInfo("m", 99)),
}


class Steps(dict[str, Any]):
    """A dict that has the test look after each change."""

    look: Any = staticmethod(lambda: None)

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        self.look()

    def pop(self, *arguments):
        try:
            return super().pop(*arguments)
        finally:
            self.look()

    def clear(self):
        super().clear()
        self.look()


class Watched(Steps, Identified):
    """Prefixes whose changes are looked at."""


@pytest.mark.parametrize(("before", "after"), [*itertools.permutations(STATES, 2)])
def test_each_step_leaves_a_whole(before, after):
    """A map about which nothing need be asked has its prefix and its number of shards.

    Between two steps another thread may look, or an exception come out of a signal handler.
    """
    catalogue = Catalogue()
    catalogue.spreads = True
    prefixes = catalogue._prefixes = Watched(catalogue, "servers")
    catalogue.shards, catalogue._seen = Steps(), Steps()

    def look():
        state = catalogue.known(MAP, NOW)
        if state is not None and state.identity is not None:
            assert MAP in prefixes
        if state is not None and (state.info is not None or state is DENIED):
            assert MAP in catalogue.shards

    for each in (prefixes, catalogue.shards, catalogue._seen):
        each.look = look
    for name in (before, after):
        try:
            catalogue._remember(MAP, STATES[name], NOW)
        except StoreTooNew:
            assert name == "too new"
            assert catalogue.known(MAP, NOW) is None
        else:
            assert catalogue.known(MAP, NOW) is STATES[name]
    catalogue.forget()
    assert catalogue.known(MAP, NOW) is None
