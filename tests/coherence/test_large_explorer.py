"""Every interleaving of clients of values in parts, and of mutants that are caught."""

import pytest

from checks.explorer.graph import NOT_LINEARIZABLE
from checks.explorer.large import LARGE, LOST, SMALL, explore
from checks.explorer.parts_store import World
from checks.explorer.search import Counterexample
from lpcm.large import large
from lpcm.large.large import Large
from lpcm.large.owners import Owners
from lpcm.ports import Put, heads

SCENARIOS = {scenario.name: scenario for scenario in (*SMALL, *LARGE)}


@pytest.mark.parametrize("scenario", SMALL, ids=lambda scenario: scenario.name)
def test_no_interleaving_loses_a_value(scenario):
    """In every order of steps and deaths values are whole, old or new, and no part is left over."""
    assert explore(scenario) > 20


def owner_after_the_parts(monkeypatch):
    """Write the owner when the parts are there."""
    write, store_parts = Owners.write, Large.store_parts
    told = []

    async def later(self, *given):
        told[:] = [(self, given)]

    async def both(self, *given):
        await store_parts(self, *given)
        ((owners, of),) = told
        await write(owners, *of)

    monkeypatch.setattr(Owners, "write", later)
    monkeypatch.setattr(Large, "store_parts", both)


def no_second_look(monkeypatch):
    """Delete what is condemned without another look at the head."""
    change, names = Owners._change, Owners._names

    async def condemned(self, map, content, *given):
        self.condemned = content
        return await change(self, map, content, *given)

    async def looked(self, map, owner, content, now):
        if getattr(self, "condemned", None) == content:
            return False
        return await names(self, map, owner, content, now)

    monkeypatch.setattr(Owners, "_change", condemned)
    monkeypatch.setattr(Owners, "_names", looked)


def no_owner_check(monkeypatch):
    """Put a head whatever its owner is."""
    monkeypatch.setattr(heads, "owner_checks", lambda _: [])


def parts_whatever_the_time(monkeypatch):
    """Store parts hours after their owner."""
    monkeypatch.setattr(large, "STALL", float("inf"))


def parts_deleted_before_the_head(monkeypatch):
    """Delete the parts of the head that is to be replaced at once."""
    store_parts = Large.store_parts

    async def both(self, map, head, data, began):
        await store_parts(self, map, head, data, began)
        entry = await self._store.read(map, "k", self._clock.now())
        if entry is not None and entry.kind == heads.HEAD:
            old = heads.head_of(entry)
            await self.owners.remove(map, old.content, old.parts, self._clock.now())

    monkeypatch.setattr(Large, "store_parts", both)


def parts_with_an_expiry(monkeypatch):
    """Let parts and owners expire, as their entry was to."""
    stored = World.do

    def do(self, map, sk, op, now):
        if isinstance(op, Put) and map != "ns/m/":
            op = op._replace(expires=now + 3600)
        return stored(self, map, sk, op, now)

    monkeypatch.setattr(World, "do", do)


def no_invalidation(monkeypatch):
    """Read the head from the store where a part is missing, and leave the cache as it is."""

    async def read_again(self, map, sk, coherent):
        del coherent
        return await self._store.read(map, sk, self._clock.now())

    monkeypatch.setattr(Large, "read_again", read_again)


def the_cached_head_again(monkeypatch):
    """Look where the head was found, where a part is missing."""

    async def read_again(self, map, sk, coherent):
        return await (coherent or self._store).read(map, sk, self._clock.now())

    monkeypatch.setattr(Large, "read_again", read_again)


MUTANTS = {
    owner_after_the_parts: ("a writer that dies", LOST),
    no_second_look: ("a writer that stalls for hours", "StoreCorrupt"),
    no_owner_check: ("a writer that stalls for hours", "StoreCorrupt"),
    parts_whatever_the_time: ("a death after hours", LOST),
    parts_deleted_before_the_head: ("a writer that dies", "StoreCorrupt"),
    parts_with_an_expiry: ("a value that lives on", "StoreCorrupt"),
    no_invalidation: ("a stale head", NOT_LINEARIZABLE),
    the_cached_head_again: ("a stale head", "StoreCorrupt"),
}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_mutant_is_found(monkeypatch, mutant):
    """Each clause stands against an order that loses a value, or leaves parts, without it."""
    scenario, broken = MUTANTS[mutant]
    mutant(monkeypatch)
    with pytest.raises(Counterexample) as found:
        explore(SCENARIOS[scenario])
    assert found.value.broken == broken
