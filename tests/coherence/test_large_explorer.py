"""Every interleaving of clients of values in parts, and of mutants that are caught."""

import pytest

from checks.explorer.graph import NOT_LINEARIZABLE
from checks.explorer.large import LARGE, LOST, SMALL, explore
from checks.explorer.parts_store import World
from checks.explorer.search import Counterexample
from lpcm.errors import StoreBusy
from lpcm.large import large
from lpcm.large.large import Large
from lpcm.large.owners import Owners
from lpcm.large.streams import Sink, Source
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


def an_owner_that_never_says_more(monkeypatch):
    """Renew the owner of a file with the number of parts that it had."""
    renew = Owners.renew

    async def as_before(self, map, sk, head, *given):
        return await renew(self, map, sk, head._replace(parts=1), *given)

    monkeypatch.setattr(Owners, "renew", as_before)


def a_renewal_that_keeps_the_etag(monkeypatch):
    """Renew an owner on condition of its etag, and leave it that one."""

    async def keeps(self, owner, now):
        renewed = owner._replace(parts=2 * owner.parts)
        if not await self._large.owners.renew(self._map, self._sk, renewed, owner.owner, now):
            raise StoreBusy
        self._entered, self._owner = now, renewed

    monkeypatch.setattr(Sink, "_renew", keeps)


def a_renewal_whatever_the_owner_is(monkeypatch):
    """Renew an owner that a sweeper may have condemned, or deleted."""

    async def always(self, map, sk, head, *given):
        _, now = given
        owner = heads.Owner(sk, head.parts, now, head.owner)
        put = Put(owner.cell(), head.owner)
        await self._store.apply(heads.owners(map), head.content, put, now)
        return True

    monkeypatch.setattr(Owners, "renew", always)


def no_renewal_after_half_an_hour(monkeypatch):
    """Store a file's parts however long ago its owner was entered."""
    parts_whatever_the_time(monkeypatch)


def a_reader_that_goes_on_with_the_new_value(monkeypatch):
    """Read the part of the head that is there now, where a part is missing."""

    async def piece(self, number):
        found = await self.find(number)
        if found is None:
            entry = await self._large.read_again(self._map, self._sk, self._coherent)
            self._head = heads.head_of(entry)
            return await self.find(number) or b""
        return found

    monkeypatch.setattr(Source, "piece", piece)


MUTANTS = {
    owner_after_the_parts: ("a writer that dies", LOST),
    no_second_look: ("a writer that stalls for hours", "StoreCorrupt"),
    no_owner_check: ("a writer that stalls for hours", "StoreCorrupt"),
    parts_whatever_the_time: ("a death after hours", LOST),
    parts_deleted_before_the_head: ("a writer that dies", "StoreCorrupt"),
    parts_with_an_expiry: ("a value that lives on", "StoreCorrupt"),
    no_invalidation: ("a stale head", NOT_LINEARIZABLE),
    the_cached_head_again: ("a stale head", "StoreCorrupt"),
    an_owner_that_never_says_more: ("a file that dies after hours", LOST),
    a_renewal_that_keeps_the_etag: ("a file that dies after hours", LOST),
    a_renewal_whatever_the_owner_is: ("a file that stalls for hours", "StoreCorrupt"),
    no_renewal_after_half_an_hour: ("a file that dies after hours", LOST),
    a_reader_that_goes_on_with_the_new_value: ("a file that is replaced", NOT_LINEARIZABLE),
}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_mutant_is_found(monkeypatch, mutant):
    """Each clause stands against an order that loses a value, or leaves parts, without it."""
    scenario, broken = MUTANTS[mutant]
    mutant(monkeypatch)
    with pytest.raises(Counterexample) as found:
        explore(SCENARIOS[scenario])
    assert found.value.broken == broken
