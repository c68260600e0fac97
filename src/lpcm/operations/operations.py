"""The operations of one map on Python keys and values: each once, as a coroutine.

Between the mapping face (``map.map``), which checks arguments and chooses a driver, and a tier
(``ports.Tier``), which knows encoded keys and cells only. Knows no thread, event loop or store.

Invariant: all of an operation's input is encoded, and so checked, before its first write.
Each operation decides in the store, by the condition it sends; none acts on an earlier read
without such a condition.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lpcm.engine.config import seconds
from lpcm.engine.insulation import check_fence
from lpcm.errors import Conflict, KeyEncodingError, ValueDecodingError
from lpcm.operations.absent import absent
from lpcm.operations.access import Access
from lpcm.operations.bulk import apply_many, delete_many, get_many, known, set_many
from lpcm.operations.counting import decrement, increment, increment_existing
from lpcm.operations.damage import (
    entries_of,
    give_back,
    keys_of,
    live_of,
    read_again,
    readable,
    take,
    whole,
    wholes,
)
from lpcm.operations.entry import MISSING, Entry
from lpcm.operations.rewriting import mutate, peekitem, popitem, transform
from lpcm.ports import Applied, Delete, KeyRange, Page, Put, Refused, Scan, Touch, When
from lpcm.ports.etags import new_etag
from lpcm.values.form import HEAD
from lpcm.values.keys import decode, encode

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lpcm.operations.entry import TTL

__all__ = ["Entries"]


class Entries(Access):
    """The operations on the entries of one map of one engine."""

    # Reading

    async def get(self, key: object, fallback: object = MISSING) -> Any:
        """Return the value, else the fallback, else the map's default, else MISSING."""
        now = self._now()
        if now >= self._until:
            await self._look(now)
        try:
            stored = await self._read(self._map, encode(key), now)
        except KeyEncodingError as error:
            stored = absent(key, error)
        if stored is None:
            return self._live(key, self.default()) if fallback is MISSING else fallback
        data, kind, _, _ = stored
        try:
            bare = kind is None and self._bare and data is not None
            value = data if bare else self._decode(data, kind)
        except ValueDecodingError as error:
            again = await read_again(self, key, encode(key), stored, error)
            if again is None:
                return self._live(key, self.default()) if fallback is MISSING else fallback
            value = self._value(again)
        make = self._makers.get(type(value))
        try:
            return value if make is None else make(value, self.binding, key)
        except RecursionError as error:
            raise self._too_deep(key) from error

    async def item(self, key: object) -> Any:
        """Return the value or the map's default; else raise KeyError."""
        # The body of get once more: an await less is a twentieth of an embedded read.
        now = self._now()
        if now >= self._until:
            await self._look(now)
        try:
            stored = await self._read(self._map, encode(key), now)
        except KeyEncodingError as error:
            stored = absent(key, error)
        if stored is not None:
            data, kind, _, _ = stored
            if kind is None and self._bare and data is not None:
                value = data
            else:
                try:
                    value = self._decode(data, kind)
                except ValueDecodingError as error:
                    again = await read_again(self, key, encode(key), stored, error)
                    value = self.default() if again is None else self._value(again)
        else:
            value = self.default()
        if value is MISSING:
            raise KeyError(key)
        make = self._number_makers.get(type(value))
        try:
            return value if make is None else make(value, self.binding, key)
        except RecursionError as error:
            raise self._too_deep(key) from error

    async def contains(self, key: object) -> bool:
        """Tell whether the key has an entry."""
        now = self._now()
        if now >= self._until:
            await self._look(now)
        try:
            return await self._reads.read(self._map, encode(key), now) is not None
        except KeyEncodingError as error:
            return absent(key, error) is not None

    async def entry(self, key: object) -> Entry[Any]:
        """Return the entry with its etag and expiry; else raise KeyError."""
        stored = await self._present(key)
        try:
            value = whole(self, stored)
        except ValueDecodingError as error:
            again = await read_again(self, key, encode(key), stored, error)
            if again is None:
                raise KeyError(key) from None
            stored, value = again, self._value(again)
        return Entry(key, self._live(key, value), stored.etag, stored.expires)

    async def ttl(self, key: object) -> float | None:
        """Return the seconds the entry has left, None for ever; else raise KeyError."""
        expires = (await self._present(key)).expires
        # An entry that has expired since the read was present then.
        return None if expires is None else max(0.0, expires - self._now())

    get_many = get_many
    known = known

    # Writing one key

    async def set(self, key: object, value: object, ttl: TTL = None) -> None:
        """Store the value."""
        # The bodies of _expiry and _put, without their calls: a twentieth of an embedded write.
        sk = encode(key)
        expires = None if ttl is None and self._ttl is None else self._expiry(ttl)
        put = tuple.__new__(Put, (self.encode(value), new_etag(), expires, When.ALWAYS))
        await self._apply(sk, put)

    assign = set  # noqa: A003  # the operation of that name, above
    """``m[key] = value``; in a transaction not the same."""

    async def add(self, key: object, value: object, ttl: TTL = None) -> bool:
        """Store the value unless the key is present; tell whether that was done."""
        put = self._put(value, self._expiry(ttl), When.ABSENT)
        return isinstance(await self._apply(encode(key), put), Applied)

    async def get_or_add(
        self, key: object, value: object, ttl: TTL = None
    ) -> tuple[Entry[Any], bool]:
        """Store the value unless the key is present; return the entry, and whether it is new."""
        put = self._put(value, self._expiry(ttl), When.ABSENT)
        outcome = await self._apply(encode(key), put)
        stored = outcome.entry
        assert stored is not None, "it was there, or is now"
        if stored.kind == HEAD and (stored := await self._whole(key, encode(key), stored)) is None:
            return await self.get_or_add(key, value, ttl)  # it has gone meanwhile
        held = self._live(key, readable(self, key, stored))
        return Entry(key, held, stored.etag, stored.expires), isinstance(outcome, Applied)

    async def setdefault(self, key: object, value: object, ttl: TTL = None) -> Any:
        """Store the value unless the key is present; return the value stored then."""
        sk = encode(key)
        if value is MISSING:
            start = self.default()
            value = None if start is MISSING else start
        put = self._put(value, self._expiry(ttl), When.ABSENT)
        outcome = await self._apply(sk, put)
        entry = outcome.entry
        assert entry is not None, "it was there, or is now"
        if entry.kind == HEAD and (entry := await self._whole(key, sk, entry)) is None:
            return await self.setdefault(key, value, ttl)  # it has gone meanwhile
        stored = readable(self, key, entry)
        make = self._number_makers.get(type(stored))
        return stored if make is None else make(stored, self.binding, key)

    async def replace(self, key: object, value: object, if_etag: int | None, ttl: TTL) -> int:
        """Store the value if the key is present, with that etag if one is given."""
        when = When.PRESENT if if_etag is None else if_etag
        put = self._put(value, self._expiry(ttl), when)
        match await self._apply(encode(key), put):
            case Applied():
                return put.etag
            case Refused(None) if if_etag is None:
                raise KeyError(key)
            case Refused(entry):
                now = "it is absent" if entry is None else f"it has etag {entry.etag}"
                raise Conflict(f"replace {key!r} in {self._name!r}: wanted etag {if_etag}, {now}")

    async def delete(self, key: object) -> bool:
        """Remove the entry if there is one; tell whether there was."""
        try:
            outcome = await self._apply(encode(key), Delete(When.PRESENT))
        except KeyEncodingError as error:
            outcome = Refused(absent(key, error))
        return isinstance(outcome, Applied)

    discard = delete
    """``m.delete(key)``, which needs no answer; in a transaction not the same."""

    async def remove(self, key: object) -> None:
        """Remove the entry; else raise KeyError."""
        if not await Entries.delete(self, key):
            raise KeyError(key)

    async def pop(self, key: object, fallback: object = MISSING) -> Any:
        """Remove the entry and return its value, else the fallback; else raise KeyError."""
        try:
            outcome = await self._apply(sk := encode(key), Delete(When.PRESENT, returning=True))
        except KeyEncodingError as error:
            sk, outcome = "", Refused(absent(key, error))
        if isinstance(outcome, Applied):
            assert outcome.previous is not None, "asked for, of an entry that was there"
            return await give_back(self, key, sk, outcome.previous)
        if (entry := outcome.entry) is not None:  # unreadable, or a head: the store keeps it
            if entry.kind != HEAD:
                return readable(self, key, entry)
            taken = await take(self, key, sk, entry)
            if taken is not None:
                return await give_back(self, key, sk, taken)
        if fallback is MISSING:
            raise KeyError(key)
        return fallback

    async def touch(self, key: object, ttl: TTL) -> bool:
        """Let the entry expire after ``ttl``, None: never; tell whether there is one."""
        expires = None if ttl is None else self._now() + seconds(ttl)
        try:
            outcome = await self._apply(encode(key), Touch(expires, new_etag()))
        except KeyEncodingError as error:
            outcome = Refused(absent(key, error))
        if isinstance(outcome, Refused) and outcome.entry is not None:
            readable(self, key, outcome.entry)
        return isinstance(outcome, Applied)

    async def expire(self, key: object, ttl: TTL) -> None:
        """Let the entry expire after ``ttl``, None: never; else raise KeyError."""
        if not await Entries.touch(self, key, ttl):
            raise KeyError(key)

    increment, decrement, increment_existing = increment, decrement, increment_existing
    mutate = mutate
    peekitem = peekitem
    popitem = popitem
    transform = transform
    set_many = set_many
    delete_many = delete_many

    # The whole map

    async def page(
        self, wanted: Scan, failed: dict[Any, Exception]
    ) -> tuple[Sequence[tuple[Any, Any]], str | None]:
        """Return the next (key, value) pairs and where to go on; None: at the end.

        The errors of entries that cannot be read are put into ``failed``, by key.
        """
        page = await self._walk(wanted)
        if not wanted.values:
            return [(key, None) for key in keys_of(page.entries)], page.resume
        try:
            pairs = [(decode(sk), self._value(stored)) for sk, stored in page.entries]
        except ValueDecodingError:
            entries, resume = await wholes(self, page, failed)
            page = Page(entries, resume)
            found = entries_of(self, keys_of(entries), entries, failed, etags=False)
            pairs = [(key, value) for key, value, _, _ in found]
        if self._makers:
            try:
                pairs = [(key, self._live(key, value)) for key, value in pairs]
            except ValueDecodingError:
                pairs = live_of(self, pairs, failed)
        return pairs, page.resume

    async def entries(
        self, wanted: Scan, failed: dict[Any, Exception]
    ) -> tuple[list[Entry[Any]], str | None]:
        """Return the next entries, etags and expiries included, and where to go on.

        The errors of entries that cannot be read are put into ``failed``, by key.
        """
        page = await self._scan(wanted)
        unread: dict[Any, Exception] = {}
        found = entries_of(self, keys_of(page.entries), page.entries, unread, etags=True)
        if not unread:
            return found, page.resume
        entries, resume = await wholes(self, page, failed)
        return entries_of(self, keys_of(entries), entries, failed, etags=True), resume

    async def restore(self, entries: Iterable[Entry[Any]]) -> None:
        """Store entries as they were elsewhere, each with its own expiry; etags are new."""
        writes: dict[str, tuple[Any, Put]] = {}
        for key, value, _, expires in entries:
            writes[encode(key)] = key, self._put(value, expires)
        await self._enter_catalogue()  # so that a map without entries is known, too
        await apply_many(self, {sk: put for sk, (_, put) in writes.items()}, writes)

    async def any(self, keys: KeyRange) -> bool:
        """Tell whether the range has an entry, reading one key."""
        return bool(await self._some(self._walk, Scan(keys, limit=1, values=False)))

    async def count(self, keys: KeyRange) -> int:
        """Count the range's entries."""
        now = await self._moment()
        return await self._reads.length(self._map, keys, now)

    async def clear(self) -> None:
        """Delete all entries."""
        check_fence(self._namespace)
        await self._moment()
        await self._tier.clear(self._map, KeyRange())
