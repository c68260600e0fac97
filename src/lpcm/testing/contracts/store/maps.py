"""Whole maps of a store: scans, counts, the catalogue."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from lpcm.ports import (
    Cell,
    Delete,
    KeyRange,
    MapInfo,
    MapState,
    Put,
    Scan,
    Stored,
    Touch,
    partition,
)
from lpcm.testing import run
from lpcm.testing.contracts.store.case import (
    EXPIRED,
    KEYS,
    LASTING,
    LIVE,
    MAP,
    NOW,
    StoreCase,
    apply,
    fill,
    keys_of,
    put,
    read,
    scan,
    scan_all,
)

if TYPE_CHECKING:
    from lpcm.ports import Store

__all__ = ["MapTests"]


class MapTests(StoreCase):
    """Scans and whole maps."""

    # Scans

    def test_scan_order(self) -> None:
        """A scan returns the range's entries in code point order, forwards and backwards."""
        with self.opened() as store:
            for sk in reversed(KEYS):
                apply(store, sk, Put(Cell(sk, None), 1))
            for low in KEYS:
                for high in (*KEYS, KeyRange().high):
                    expected = [sk for sk in KEYS if low <= sk < high]
                    for limit in (1, 2, 1000):
                        options: dict[str, Any] = {"keys": KeyRange(low, high), "limit": limit}
                        assert keys_of(store, **options) == expected
                        assert keys_of(store, reverse=True, **options) == expected[::-1]
                    assert run(store.count(MAP, KeyRange(low, high), NOW)) == len(expected)

    def test_scan_pages(self) -> None:
        """A page has at most ``limit`` entries; the last one resumes nowhere."""
        with self.opened() as store:
            fill(store, 25)
            for reverse in (False, True):
                first = scan(store, limit=10, reverse=reverse)
                assert len(first.entries) == 10
                assert first.resume == first.entries[-1][0]
                assert scan(store, limit=26, reverse=reverse).resume is None
            assert scan(store, keys=KeyRange("a", "b")) == ([], None)
            assert scan(store, keys=KeyRange("b", "a")) == ([], None)

    def test_scan_is_bounded_in_bytes(self) -> None:
        """A page of large values ends at about a megabyte, and the scan goes on behind it."""
        with self.opened() as store:
            for n in range(30):
                apply(store, f"{n:02}", Put(Cell("x" * 100_000, None), n))
            page = scan(store)
            assert 5 <= len(page.entries) <= 15
            assert [entry.etag for _, entry in scan_all(store)] == list(range(30))
            assert len(scan_all(store, reverse=True)) == 30

    def test_scan_without_values(self) -> None:
        """A scan without values returns etags and expiries, and no data."""
        with self.opened() as store:
            apply(store, "a", put(LIVE))
            apply(store, "b", put(LASTING))
            page = scan(store, values=False)
            assert [(sk, e.data, e.etag, e.expires) for sk, e in page.entries] == [
                ("a", None, 7, None),
                ("b", None, 7, NOW + 1),
            ]

    def test_expired_are_not_scanned_or_counted(self) -> None:
        """Scans and counts leave out what has expired."""
        with self.opened() as store:
            fill(store, 20)
            for n in range(0, 20, 2):
                apply(store, f"{n:05}", Touch(NOW, 1))
            odd = [f"{n:05}" for n in range(1, 20, 2)]
            assert keys_of(store, limit=3) == odd
            assert keys_of(store, limit=3, reverse=True) == odd[::-1]
            assert run(store.count(MAP, KeyRange(), NOW)) == 10
            assert run(store.count(MAP, KeyRange("00004", "00008"), NOW)) == 2
            assert run(store.count(MAP, KeyRange(), NOW - 1)) == 20

    def test_scan_under_writes(self) -> None:
        """What is there during the whole scan is returned once, whatever else comes and goes."""
        with self.opened() as store:
            for reverse in (False, True):
                for n in range(0, 100, 2):
                    apply(store, f"{n:03}", Put(Cell(n, None), n))
                seen: list[str] = []
                after = None
                while True:
                    page = scan(store, after=after, limit=7, reverse=reverse)
                    seen += [sk for sk, _ in page.entries]
                    after = page.resume
                    if after is None:
                        break
                    here = int(after)
                    apply(store, f"{here:03}", Delete())
                    for n in (here - 1, here + 1):
                        apply(store, f"{max(n, 0):03}", Put(Cell(n, None), n))
                assert len(seen) == len(set(seen))
                assert {sk for sk in seen if int(sk) % 2 == 0} == {
                    f"{n:03}" for n in range(0, 100, 2)
                }
                run(store.clear(MAP, KeyRange()))

    # Whole maps

    def test_clear(self) -> None:
        """Clear deletes the range, and only the range, of this map only."""
        other = partition("ns", "other")
        with self.opened() as store:
            fill(store, 9000)
            run(store.apply(other, "00001", Put(Cell(1, None), 1), NOW))
            run(store.clear(MAP, KeyRange("00010", "08990")))
            kept = [f"{n:05}" for n in (*range(10), *range(8990, 9000))]
            assert keys_of(store) == kept
            run(store.clear(MAP, KeyRange()))
            assert keys_of(store) == []
            assert run(store.count(other, KeyRange(), NOW)) == 1
            run(store.clear(MAP, KeyRange()))

    def test_clear_takes_the_expired(self) -> None:
        """Clear leaves nothing behind that a clock set back would show."""
        with self.opened() as store:
            apply(store, "k", put(EXPIRED))
            run(store.clear(MAP, KeyRange()))
            assert read(store, "k", NOW - 1) is None

    def test_maps_are_apart(self) -> None:
        """Maps and namespaces whose names begin alike share nothing."""
        places = [(n, m) for n in ("a", "ab", "a/b", "b") for m in ("a", "ab", "b", "a/b", "b/c")]
        maps = [partition(*place) for place in places]
        with self.opened() as store:
            for number, place in enumerate(places):
                run(store.register(place[0], self.row._replace(name=place[1])))
                run(store.apply(partition(*place), "k", Put(Cell(number, None), 1), NOW))
            for number, map in enumerate(maps):  # noqa: A001  # the field's word
                page = run(store.scan(map, Scan(), NOW))
                assert page.entries == [("k", Stored(number, None, 1, None))]
            run(store.clear(maps[0], KeyRange()))
            run(store.drop("a"))
            counts = [run(store.count(map, KeyRange(), NOW)) for map in maps]  # noqa: A001  # same
            assert counts == [0 if namespace == "a" else 1 for namespace, _ in places]

    def test_catalogue(self) -> None:
        """A map is entered once; entering it again returns what stands there."""
        with self.opened() as store:
            assert run(store.maps("ns")) == []
            first = MapInfo("users", 1, "typed", 1)
            assert run(store.register("ns", first)).info == first
            assert run(store.register("ns", MapInfo("users", 2, "other", 4))).info == first
            assert run(store.describe("ns", "users")).info == first
            assert run(store.describe("ns", "user")).info is None
            for name in ("é", "b", "a/b", "a"):
                run(store.register("ns", MapInfo(name)))
            run(store.register("ns2", MapInfo("elsewhere")))
            names = [info.name for info in run(store.maps("ns"))]
            assert names == sorted(["é", "b", "a/b", "a", "users"])
            assert run(store.maps("ns2")) == [MapInfo("elsewhere")]

    def test_catalogue_of_many_threads(self) -> None:
        """Of many clients that enter a map at once one wins, and all get the same answer."""

        def client(store: Store) -> list[MapState]:
            me = threading.get_ident() % 2**31
            return [run(store.register("ns", MapInfo(f"{n}", me))) for n in range(10)]

        with self.opened() as store:
            for answers in zip(*self.race(store, client), strict=True):
                assert len(set(answers)) == 1

    def test_identity(self) -> None:
        """A namespace has an identity from its first map on, until it is dropped or renewed."""
        with self.opened() as store:
            assert run(store.describe("ns", "users")) == (None, None)
            state = run(store.register("ns", MapInfo("users")))
            assert run(store.describe("ns", "users")) == state
            assert run(store.register("ns", MapInfo("pets"))).identity == state.identity
            assert run(store.describe("ns", "absent")) == (state.identity, None)
            if not self.identified:
                assert state.identity is None
                return
            seen = {state.identity, run(store.register("ns2", MapInfo("users"))).identity}
            run(store.drop("ns"))
            assert run(store.describe("ns", "users")) == (None, None)
            seen.add(run(store.register("ns", MapInfo("users"))).identity)
            run(store.renew("ns"))
            again = run(store.describe("ns", "users"))
            assert again.info == MapInfo("users")
            assert None not in seen
            assert len({*seen, again.identity}) == 4
            run(store.renew("ns3"))
            assert run(store.describe("ns3", "users")).identity is not None
            assert run(store.maps("ns3")) == []

    def test_drop(self) -> None:
        """Drop deletes the namespace's entries and catalogue, and nobody else's."""
        with self.opened() as store:
            fill(store, 5000)
            for namespace in ("ns", "n", "nsx", "ns0"):
                run(store.register(namespace, self.row))
                run(store.apply(partition(namespace, "map"), "k", Put(Cell(1, None), 1), NOW))
            run(store.drop("ns"))
            assert run(store.maps("ns")) == []
            assert run(store.count(MAP, KeyRange(), NOW)) == 0
            for namespace in ("n", "nsx", "ns0"):
                assert run(store.maps(namespace)) == [self.row]
                assert run(store.count(partition(namespace, "map"), KeyRange(), NOW)) == 1
            run(store.drop("ns"))

    def test_close(self) -> None:
        """Close is safe twice."""
        store = self.open()
        apply(store, "k", Put(Cell(1, None), 1))
        store.close()
        store.close()
