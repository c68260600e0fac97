"""The contract of ``ports.Cache``, as tests that every adapter's test class inherits.

Knows no adapter: a test class overrides ``opened``, which yields a cache and what drives its
coroutines. Each test is a sentence of ``ports.py``, or of what memcached truly does.

    class TestMine(CacheContract):
        @contextmanager
        def opened(self):
            cache = my_cache(...)
            yield Driven(cache, run, concurrently)

Invariant: every test uses keys of its own, so the cache need not be empty.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import pytest

from lpcm.ports import CacheLost, Get, Invalidate, Packet, Replies, Result, Set
from lpcm.testing import run

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextlib import AbstractContextManager

    from lpcm.ports import Cache, Command

    Make: TypeAlias = Callable[[int], Coroutine[Any, Any, Any]]

__all__ = ["CacheContract", "Driven", "in_threads"]

ALL_BYTES = bytes(range(256)) * 4
TRAPS = (b"", b"x", b"\r\n", b"END\r\n", b"HD\r\nEN\r\n", b"VA 1 f1\r\nx\r\n", b" ", ALL_BYTES)
BAD_KEYS = ("", " ", "a b", "a\r\nmn", "a\n", "\0", "\x7f", "é", "k" * 251)
FREE = (False, False, False)  # neither won nor stale nor taken
BAD_TIMES = (0, -1, 30 * 24 * 3600 + 1)


class Driven(NamedTuple):
    """An open cache, and how its coroutines are run."""

    cache: Cache
    run: Callable[[Coroutine[Any, Any, Any]], Any] = run
    """Runs one to its end."""
    concurrently: Callable[[int, Make], list[Any]] | None = None
    """Runs so many at once, made from their numbers; None: as threads."""

    def send(self, key: str, *commands: Command, connection: int | None = None) -> Replies:
        """Send one packet."""
        replies: Replies = self.run(self.cache.send(Packet(key, commands, connection)))
        return replies

    def do(self, key: str, command: Command, connection: int | None = None) -> Result:
        """Send one command."""
        return self.send(key, command, connection=connection).results[0]

    def look(self, key: str, lease: int = 100) -> bytes | Result:
        """Look an item up: the base, or the result that is none."""
        found = self.run(self.cache.look(key, lease))
        return found if isinstance(found, bytes) else found.results[0]


def in_threads(number: int, make: Make) -> list[Any]:
    """Run so many blocking coroutines at once."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(lambda n: run(make(n)), range(number)))


def fresh_key() -> str:
    """Return a key that no other test uses."""
    return f"contract:{secrets.token_hex(6)}"


class CacheContract:
    """What every cache does. Override ``opened``."""

    too_large = 4 << 20
    """Bytes of a value that the cache cannot take."""

    def opened(self) -> AbstractContextManager[Driven]:
        """Open a cache for one test."""
        raise NotImplementedError

    # One command

    def test_set_and_get(self) -> None:
        """What is set is got: the bytes, how many are the base, a CAS id, the time left."""
        with self.opened() as driven:
            key = fresh_key()
            for data in TRAPS:
                for base in {0, len(data) // 2, len(data)}:
                    put = driven.do(key, Set(data, base, 1000))
                    assert put.status == "HD"
                    seen = driven.do(key, Get())
                    assert seen[:5] == ("VA", data, put.cas, len(data), base)
                    assert 990 <= seen.ttl <= 1000
                    assert seen[6:] == FREE

    def test_large_values(self) -> None:
        """A value of many packets of the network comes back whole."""
        with self.opened() as driven:
            key = fresh_key()
            for size in (65_535, 65_536, 300_000, 1_000_000):
                data = secrets.token_bytes(size)
                assert driven.do(key, Set(data, size, 100)).status == "HD"
                assert driven.do(key, Get()).data == data
                assert driven.look(key) == data

    def test_too_large(self) -> None:
        """A value that is too large is not stored, and what comes after it is not disturbed."""
        with self.opened() as driven:
            key = fresh_key()
            driven.do(key, Set(b"old", 3, 100))
            replies = driven.send(key, Set(bytes(self.too_large), 0, 100), Get())
            assert replies.results[0].status == "TL"
            assert replies.results[1].data in {b"", b"old"}
            assert driven.do(key, Set(b"new", 3, 100)).status == "HD"

    def test_no_value(self) -> None:
        """Without ``value`` a hit tells all but the data."""
        with self.opened() as driven:
            key = fresh_key()
            assert driven.do(key, Get(value=False)) == Result("EN")
            put = driven.do(key, Set(b"abc", 2, 100))
            assert driven.do(key, Get(value=False))[:5] == ("HD", b"", put.cas, 3, 2)

    def test_miss(self) -> None:
        """Without a lease a miss leaves nothing behind."""
        with self.opened() as driven:
            key = fresh_key()
            assert driven.do(key, Get()) == Result("EN")
            assert driven.do(key, Get(touch=100)) == Result("EN")
            assert driven.do(key, Get()) == Result("EN")

    def test_lease(self) -> None:
        """The first to miss wins the lease, an empty item with a token; others see it taken."""
        with self.opened() as driven:
            key = fresh_key()
            first = driven.do(key, Get(100))
            assert (first.status, first.data, first.base) == ("VA", b"", 0)
            assert first.won
            assert not first.taken
            for _ in range(2):
                other = driven.do(key, Get(100))
                assert other.taken
                assert not other.won
                assert other.cas == first.cas
            assert driven.do(key, Get()).taken

    def test_only_one_wins(self) -> None:
        """Of many readers that miss at once, one wins."""
        with self.opened() as driven:
            key = fresh_key()

            async def look(_: int) -> bool:
                found = await driven.cache.look(key, 100)
                return isinstance(found, Replies) and found.results[0].won

            assert sum(self._at_once(driven, 16, look)) == 1

    def test_touch(self) -> None:
        """A touch gives an item its time anew, and tells it."""
        with self.opened() as driven:
            key = fresh_key()
            put = driven.do(key, Set(b"x", 1, 1000))
            touched = driven.do(key, Get(touch=100))
            assert 98 <= touched.ttl <= 100
            assert touched.cas == put.cas
            assert 98 <= driven.do(key, Get()).ttl <= 100

    def test_expiry(self) -> None:
        """An item is gone when its time is over."""
        with self.opened() as driven:
            key = fresh_key()
            driven.do(key, Set(b"x", 1, 1))
            deadline = time.monotonic() + 20
            while driven.do(key, Get()).status == "VA":
                assert time.monotonic() < deadline
                time.sleep(0.05)

    def test_add(self) -> None:
        """Mode E stores only where there is nothing."""
        with self.opened() as driven:
            key = fresh_key()
            assert driven.do(key, Set(b"a", 1, 100, "E")).status == "HD"
            assert driven.do(key, Set(b"b", 1, 100, "E")).status == "NS"
            assert driven.do(key, Get()).data == b"a"

    def test_append(self) -> None:
        """Mode A appends: same base, same time, a new CAS id; where there is nothing, nothing."""
        with self.opened() as driven:
            key = fresh_key()
            assert driven.do(key, Set(b"+", 0, 100, "A")).status == "NS"
            put = driven.do(key, Set(b"abc", 3, 1000))
            more = driven.do(key, Set(b"+", 0, 5, "A"))
            assert more.status == "HD"
            assert more.cas > put.cas
            seen = driven.do(key, Get())
            assert seen[:5] == ("VA", b"abc+", more.cas, 4, 3)
            assert seen.ttl > 900

    def test_append_to_what_is_taken(self) -> None:
        """An append to a stale or leased item ends both."""
        with self.opened() as driven:
            key = fresh_key()
            driven.do(key, Get(100))
            driven.do(key, Set(b"+", 0, 5, "A"))
            seen = driven.do(key, Get(100))
            assert (seen.data, seen.base) == (b"+", 0)
            assert seen[6:] == FREE
            driven.do(key, Invalidate())
            driven.do(key, Set(b"+", 0, 5, "A"))
            seen = driven.do(key, Get(100))
            assert seen.data == b"++"
            assert seen[6:] == FREE

    def test_compare_and_set(self) -> None:
        """With a CAS id a set is done only on that very state of the item."""
        with self.opened() as driven:
            key = fresh_key()
            seen = driven.send(key, Set(b"a", 1, 100))
            cas, over = seen.results[0].cas, seen.connection
            assert driven.do(key, Set(b"b", 1, 100, cas=cas + 1), over).status == "EX"
            put = driven.do(key, Set(b"b", 1, 100, cas=cas), over)
            assert put.status == "HD"
            assert put.cas > cas
            assert driven.do(key, Set(b"c", 1, 100, cas=cas), over).status == "EX"
            assert driven.do(key, Get()).data == b"b"
            assert driven.do(fresh_key(), Set(b"c", 1, 100, cas=cas)).status == "NF"

    def test_invalidate(self) -> None:
        """An invalidated item stays, stale and with a new CAS id; the next with a lease wins it."""
        with self.opened() as driven:
            key = fresh_key()
            assert driven.do(key, Invalidate()).status == "NF"
            put = driven.do(key, Set(b"abc", 2, 1000))
            assert driven.do(key, Invalidate(cas=put.cas + 1)).status == "EX"
            assert driven.do(key, Invalidate(100, put.cas)).status == "HD"
            first, second = (driven.do(key, Get(100)) for _ in range(2))
            assert first.cas > put.cas
            assert (first.data, first.base) == (b"abc", 2)
            assert (first.won, first.stale, first.taken) == (True, True, False)
            assert (second.won, second.stale, second.taken) == (False, True, True)
            assert first.ttl <= 100
            driven.do(key, Invalidate())
            assert driven.do(key, Get(100)).won

    def test_new_item_ends_staleness(self) -> None:
        """What is set anew is neither stale nor taken."""
        with self.opened() as driven:
            key = fresh_key()
            driven.do(key, Set(b"abc", 2, 100))
            driven.do(key, Invalidate())
            driven.do(key, Get(100))
            driven.do(key, Set(b"new", 3, 100))
            seen = driven.do(key, Get(100))
            assert seen[6:] == FREE

    # Looking

    def test_look(self) -> None:
        """A look returns the base alone where there is one; else all that is known."""
        with self.opened() as driven:
            key = fresh_key()
            missed = driven.look(key)
            assert isinstance(missed, Result)
            assert missed.won
            for data, base in ((b"abc", 3), (b"abc+", 3), (b"abc+++", 3), (b"\r\n+", 2)):
                driven.do(key, Set(data, base, 100))
                assert driven.look(key) == data[:base]
            driven.do(key, Set(b"++", 0, 100))
            marked = driven.look(key)
            assert isinstance(marked, Result)
            assert (marked.data, marked.base, marked.size) == (b"++", 0, 2)

    def test_look_many(self) -> None:
        """Many looks are as so many single ones, however many and large."""
        with self.opened() as driven:
            prefix = fresh_key()
            shapes = [(b"abc", 3), (b"abc+", 3), (b"++", 0), (b"MN\r\n", 4), (b"\r\nMN\r\n+", 6)]
            keys = [f"{prefix}-{n}" for n in range(1200)]
            for n, key in enumerate(keys[:-300]):
                driven.do(key, Set(*shapes[n % 5], 100))
            found = driven.run(driven.cache.look_many(keys, 100))
            assert len(found) == len(keys)
            for n, each in enumerate(found):
                if n >= len(keys) - 300:
                    assert each.results[0].won
                elif n % 5 == 2:
                    assert each.results[0][:2] == ("VA", b"++")
                    assert not each.results[0].won
                else:
                    data, base = shapes[n % 5]
                    assert each == data[:base]
            token = found[-1].results[0].cas
            put = Set(b"mine", 4, 100, cas=token)
            assert driven.do(keys[-1], put, found[-1].connection).status == "HD"
            large = secrets.token_bytes(100_000)
            for key in keys[:50]:
                driven.do(key, Set(large, 99_999, 100))
            assert driven.run(driven.cache.look_many(keys[:50] * 2, 100)) == [large[:-1]] * 100
            assert driven.run(driven.cache.look_many([], 100)) == []
            for bad in BAD_KEYS:
                with pytest.raises(ValueError, match="key"):
                    driven.run(driven.cache.look_many([keys[0], bad, keys[1]], 100))
            self._works(driven)

    # Packets

    def test_a_packet_in_order(self) -> None:
        """The commands of a packet are done in order, and answered in it."""
        with self.opened() as driven:
            key = fresh_key()
            mark = (Set(b"+", 0, 10, "A"), Set(b"+", 0, 10, "E"), Get(None, 10, value=False))
            append, add, seen = driven.send(key, *mark).results
            assert (append.status, add.status, seen.status) == ("NS", "HD", "HD")
            assert (seen.cas, seen.size, seen.base) == (add.cas, 1, 0)
            append, add, seen = driven.send(key, *mark).results
            assert (append.status, add.status, seen.status) == ("HD", "NS", "HD")
            assert (seen.cas, seen.size) == (append.cas, 2)
            invalidated, second = driven.send(key, Set(b"+", 0, 10), Invalidate()).results
            assert (invalidated.status, second.status) == ("HD", "HD")

    def test_token(self) -> None:
        """A token goes over its connection; where that is gone, it is lost and nothing is sent."""
        with self.opened() as driven:
            key = fresh_key()
            missed = driven.send(key, Get(100))
            token = missed.results[0].cas
            with pytest.raises(CacheLost):
                driven.send(key, Set(b"x", 1, 100, cas=token), connection=10**9)
            put = driven.send(key, Set(b"x", 1, 100, cas=token), connection=missed.connection)
            assert put.results[0].status == "HD"
            assert put.connection == missed.connection

    def test_fresh(self) -> None:
        """A packet may ask for a new connection, and is done."""
        with self.opened() as driven:
            key = fresh_key()
            driven.do(key, Set(b"x", 1, 100))
            packet = Packet(key, (Set(b"+", 0, 10), Invalidate()))
            done = driven.run(driven.cache.send(packet, fresh=True))
            assert [result.status for result in done.results] == ["HD", "HD"]
            assert driven.do(key, Get(10)).won

    def test_many(self) -> None:
        """Many packets are done, each in its order, and answered in theirs; keys may come again."""
        with self.opened() as driven:
            prefix = fresh_key()
            packets = [
                Packet(f"{prefix}-{n % 700}", (Set(b"%d" % n, 1, 100), Get(), Get(value=False)))
                for n in range(1500)
            ]
            answers = driven.run(driven.cache.send_many(packets))
            assert len(answers) == len(packets)
            for n, answer in enumerate(answers):
                put, seen, sized = answer.results
                assert (put.status, seen.data, sized.size) == ("HD", b"%d" % n, len(b"%d" % n))
            assert driven.run(driven.cache.send_many([])) == []

    def test_many_large(self) -> None:
        """However much goes both ways at once, nobody waits for ever."""
        with self.opened() as driven:
            prefix = fresh_key()
            data = [secrets.token_bytes(100_000) for _ in range(4)]
            sets = [Packet(f"{prefix}-{n}", (Set(data[n % 4], 9, 100),)) for n in range(100)]
            for answer in driven.run(driven.cache.send_many(sets)):
                assert answer.results[0].status == "HD"
            both = [
                Packet(f"{prefix}-{n}", (Get(), Get(), Set(data[n % 4], 9, 100)))
                for n in range(100)
            ]
            for n, answer in enumerate(driven.run(driven.cache.send_many(both))):
                assert [result.status for result in answer.results] == ["VA", "VA", "HD"]
                assert answer.results[1].data == data[n % 4]

    def test_many_tokens(self) -> None:
        """Of many packets, those whose connection is gone are lost, and no others."""
        with self.opened() as driven:
            keys = [fresh_key() for _ in range(6)]
            looks = driven.run(driven.cache.send_many([Packet(k, (Get(100),)) for k in keys]))
            packets = [
                Packet(
                    key,
                    (Set(b"x", 1, 100, cas=look.results[0].cas),),
                    look.connection if n % 2 else 10**9,
                )
                for n, (key, look) in enumerate(zip(keys, looks, strict=True))
            ]
            answers = driven.run(driven.cache.send_many(packets))
            for n, (key, answer) in enumerate(zip(keys, answers, strict=True)):
                assert isinstance(answer, Replies if n % 2 else CacheLost)
                assert driven.do(key, Get()).base == n % 2

    def test_nothing_is_lost_among_many(self) -> None:
        """Counting by compare-and-set, by many at once, counts every one."""
        with self.opened() as driven:
            key, each, clients = fresh_key(), 25, 8
            driven.do(key, Set(b"0", 1, 1000))

            async def count(_: int) -> int:
                lost = 0
                for _ in range(each):
                    while True:
                        seen = await driven.cache.send(Packet(key, (Get(),)))
                        found = seen.results[0]
                        put = Set(b"%d" % (int(found.data) + 1), 1, 1000, cas=found.cas)
                        done = await driven.cache.send(Packet(key, (put,), seen.connection))
                        if done.results[0].status == "HD":
                            break
                        lost += 1
                return lost

            self._at_once(driven, clients, count)
            assert driven.do(key, Get()).data == b"%d" % (each * clients)

    def test_replies_are_never_mixed(self) -> None:
        """Of many at once, everyone gets the replies to what they asked."""
        with self.opened() as driven:
            prefix = fresh_key()

            async def ask(n: int) -> None:
                for turn in range(40):
                    data = b"%d-%d" % (n, turn) * (1 + 3000 * (turn % 3))
                    key = f"{prefix}-{n}"
                    await driven.cache.send(Packet(key, (Set(data, len(data), 100),)))
                    assert await driven.cache.look(key, 10) == data
                    packets = [Packet(key, (Get(),)), Packet(key, (Get(value=False),))]
                    first, second = await driven.cache.send_many(packets)
                    assert isinstance(first, Replies)
                    assert isinstance(second, Replies)
                    assert first.results[0].data == data
                    assert second.results[0].size == len(data)

            self._at_once(driven, 8, ask)

    # What must not be sent

    def test_bad_keys(self) -> None:
        """A key that would break the protocol is refused, and nothing of it sent."""
        with self.opened() as driven:
            for key in BAD_KEYS:
                with pytest.raises(ValueError, match="key"):
                    driven.run(driven.cache.look(key, 10))
                with pytest.raises(ValueError, match="key"):
                    driven.do(key, Get())
                with pytest.raises(ValueError, match="key"):
                    driven.run(driven.cache.send_many([Packet(key, (Get(),))] * 2))
            self._works(driven)

    def test_bad_numbers(self) -> None:
        """A time memcached takes for another, or a ``Set`` that makes no sense, is refused."""
        with self.opened() as driven:
            commands: list[Command] = [Set(b"x", 2, 10), Set(b"x", -1, 10), Set(b"x", 1, 10, "X")]
            commands += (Set(b"x", 1, 10, "E", 1), Set(b"x", 1, 10, "A", 1))
            for bad in BAD_TIMES:
                commands += (Set(b"x", 1, bad), Get(bad), Get(None, bad), Invalidate(bad))
            for command in commands:
                with pytest.raises(ValueError):  # noqa: PT011  # any: the message is the adapter's
                    driven.do(fresh_key(), command)
                key = fresh_key()
                packets = [Packet(key, (Set(b"x", 1, 10),)), Packet(key, (command,))]
                with pytest.raises(ValueError):  # noqa: PT011  # as above
                    driven.run(driven.cache.send_many(packets))
            self._works(driven)

    def test_closed(self) -> None:
        """A closed cache is lost; closing twice is nothing."""
        with self.opened() as driven:
            self._works(driven)
            driven.cache.close()
            driven.cache.close()
            with pytest.raises(CacheLost):
                driven.look(fresh_key())
            with pytest.raises(CacheLost):
                driven.do(fresh_key(), Get())
            packet = Packet(fresh_key(), (Get(),))
            with pytest.raises(CacheLost):
                driven.run(driven.cache.send(packet, fresh=True))
            (answer,) = driven.run(driven.cache.send_many([packet]))
            assert isinstance(answer, CacheLost)
            (answer,) = driven.run(driven.cache.look_many([fresh_key()], 10))
            assert isinstance(answer, CacheLost)

    @staticmethod
    def _at_once(driven: Driven, number: int, make: Make) -> list[Any]:
        return (driven.concurrently or in_threads)(number, make)

    @staticmethod
    def _works(driven: Driven) -> None:
        key = fresh_key()
        assert driven.do(key, Set(b"fine", 4, 100)).status == "HD"
        assert driven.look(key) == b"fine"
