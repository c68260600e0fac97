"""Sessions in a map: ``SESSION_ENGINE = "lpcm.django.sessions"``.

One entry for each session, signed and serialized as Django's database backend does it
(``SESSION_SERIALIZER``), that expires by itself: ``clearsessions`` has nothing to do. The map
is ``django.sessions``, on the alias in ``SESSION_LPCM_ALIAS`` (``default``).

The session key is what a browser logs in with, so the store never sees it: an entry's key is
the SHA-256 of the session key. The signature of a value covers that digest: a value is worth
nothing under another key. A reader of the map reads what sessions hold, and can take over none.

Invariant: two sessions never have one key, and a session that was deleted elsewhere does not
come back by being saved. Whatever a browser sends as a session key, and whatever stands in the
map, is a session or an absent one, and no error.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from django.conf import settings
from django.contrib.sessions.backends.base import CreateError, SessionBase, UpdateError

from lpcm import LPCM
from lpcm.errors import ValueDecodingError

__all__ = ["MAP", "SessionStore"]

MAP = "django.sessions"
"""The map's name."""


class SessionStore(SessionBase):
    """A session in a map."""

    def __init__(self, session_key: str | None = None) -> None:
        super().__init__(session_key)
        alias = getattr(settings, "SESSION_LPCM_ALIAS", "default")
        self._map: LPCM[str, str] = LPCM(MAP, using=alias, live=False)

    def load(self) -> dict[str, Any]:
        """Return what the session holds. Cost: one read."""
        key = self.session_key
        try:
            return self._opened(None if key is None else self._map.get(_digest(key)))
        except ValueDecodingError:
            return self._opened(None)

    async def aload(self) -> dict[str, Any]:
        """Await ``load``."""
        key = self.session_key
        try:
            return self._opened(None if key is None else await self._map.aget(_digest(key)))
        except ValueDecodingError:
            return self._opened(None)

    def _opened(self, data: object) -> dict[str, Any]:
        found = self.decode(data) if isinstance(data, str) else None
        if not isinstance(found, dict):  # a serializer may make anything of a signed value
            self._session_key = None
            return {}
        return found

    @property
    def key_salt(self) -> str:
        """What signatures are salted with: the place of the session, too."""
        key = self.session_key
        base: str = super().key_salt
        return base if key is None else f"{base}:{_digest(key)}"

    def exists(self, session_key: str | None) -> bool:
        """Tell whether there is a session of that key. Cost: one read."""
        return session_key is not None and _digest(session_key) in self._map

    async def aexists(self, session_key: str | None) -> bool:
        """Await ``exists``."""
        return session_key is not None and await self._map.acontains(_digest(session_key))

    def create(self) -> None:
        """Begin a session under a new key."""
        while True:
            self._session_key = self._get_new_session_key()  # type: ignore[attr-defined]  # the stubs lack it
            try:
                self.save(must_create=True)
            except CreateError:
                continue
            self.modified = True
            return

    async def acreate(self) -> None:
        """Await ``create``."""
        while True:
            self._session_key = await self._aget_new_session_key()  # type: ignore[attr-defined]  # the stubs lack it
            try:
                await self.asave(must_create=True)
            except CreateError:
                continue
            self.modified = True
            return

    def save(self, must_create: bool = False) -> None:  # noqa: FBT001, FBT002  # Django's signature
        """Store the session. Cost: one write. **Raises** CreateError, UpdateError."""
        if self.session_key is None:
            return self.create()
        held = self._get_session(no_load=must_create)  # type: ignore[attr-defined]  # as above
        name = self._place()
        data, age = self.encode(held), self.get_expiry_age()
        if age <= 0:
            self._map.delete(name)
        elif must_create:
            if not self._map.add(name, data, ttl=age):
                raise CreateError
        else:
            self._replace(name, data, age)
        return None

    def _place(self) -> str:
        """Return the map's key; UpdateError where the session turned out to be absent."""
        key = self.session_key
        if key is None:
            raise UpdateError
        return _digest(key)

    def _replace(self, key: str, data: str, age: int) -> None:
        try:
            self._map.replace(key, data, ttl=age)
        except KeyError:
            raise UpdateError from None

    async def asave(self, must_create: bool = False) -> None:  # noqa: FBT001, FBT002  # as above
        """Await ``save``."""
        if self.session_key is None:
            return await self.acreate()
        held = await self._aget_session(no_load=must_create)  # type: ignore[attr-defined]  # as above
        name = self._place()
        data, age = self.encode(held), await self.aget_expiry_age()
        if age <= 0:
            await self._map.adelete(name)
        elif must_create:
            if not await self._map.aadd(name, data, ttl=age):
                raise CreateError
        else:
            try:
                await self._map.areplace(name, data, ttl=age)
            except KeyError:
                raise UpdateError from None
        return None

    def delete(self, session_key: str | None = None) -> None:
        """Remove a session: this one, unless another is named. Cost: one write."""
        key = self.session_key if session_key is None else session_key
        if key is not None:
            self._map.delete(_digest(key))

    async def adelete(self, session_key: str | None = None) -> None:
        """Await ``delete``."""
        key = self.session_key if session_key is None else session_key
        if key is not None:
            await self._map.adelete(_digest(key))

    @classmethod
    def clear_expired(cls) -> None:
        """Do nothing: entries expire by themselves."""

    @classmethod
    async def aclear_expired(cls) -> None:
        """Do nothing."""


def _digest(key: str) -> str:
    """Return the map's key of a session: of any text, since a cookie may hold any."""
    return sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
