"""Sessions in a map: ``SESSION_ENGINE = "lpcm.django.sessions"``.

One entry for each session, signed and serialized as Django's database backend does it
(``SESSION_SERIALIZER``), that expires by itself: ``clearsessions`` has nothing to do. The map
is ``django.sessions``, on the alias in ``SESSION_LPCM_ALIAS`` (``default``).

Invariant: two sessions never have one key, and a session that was deleted elsewhere does not
come back by being saved.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.sessions.backends.base import CreateError, SessionBase, UpdateError

from lpcm import LPCM
from lpcm._run import run

__all__ = ["SessionStore"]


class SessionStore(SessionBase):
    """A session in a map."""

    def __init__(self, session_key: str | None = None) -> None:
        super().__init__(session_key)
        alias = getattr(settings, "SESSION_LPCM_ALIAS", "default")
        self._map: LPCM[str, str] = LPCM("django.sessions", using=alias, live=False)

    def load(self) -> dict[str, Any]:
        """Return what the session holds. Cost: one read."""
        key = self.session_key
        return self._opened(None if key is None else self._map.get(key))

    async def aload(self) -> dict[str, Any]:
        """Await ``load``."""
        key = self.session_key
        return self._opened(None if key is None else await self._map.aget(key))

    def _opened(self, data: str | None) -> dict[str, Any]:
        if data is None:
            self._session_key = None
            return {}
        return self.decode(data)

    def exists(self, session_key: str) -> bool:
        """Tell whether there is a session of that key. Cost: one read."""
        return session_key in self._map

    async def aexists(self, session_key: str) -> bool:
        """Await ``exists``."""
        return await self._map.acontains(session_key)

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
        data = self.encode(self._get_session(no_load=must_create))  # type: ignore[attr-defined]  # as above
        age = self.get_expiry_age()
        if age <= 0:
            self._map.delete(self.session_key)
        elif must_create:
            use = self._map._use()  # noqa: SLF001  # no dict has it
            if not run(use.add(self.session_key, data, age)):
                raise CreateError
        else:
            self._replace(self.session_key, data, age)
        return None

    def _replace(self, key: str, data: str, age: int) -> None:
        try:
            self._map.replace(key, data, ttl=age)
        except KeyError:
            raise UpdateError from None

    async def asave(self, must_create: bool = False) -> None:  # noqa: FBT001, FBT002  # as above
        """Await ``save``."""
        if self.session_key is None:
            return await self.acreate()
        data = self.encode(await self._aget_session(no_load=must_create))  # type: ignore[attr-defined]  # as above
        age = await self.aget_expiry_age()
        if age <= 0:
            await self._map.adelete(self.session_key)
        elif must_create:
            use = self._map._ause()  # noqa: SLF001  # as above
            if not await use.drive(use.add(self.session_key, data, age)):
                raise CreateError
        else:
            try:
                await self._map.areplace(self.session_key, data, ttl=age)
            except KeyError:
                raise UpdateError from None
        return None

    def delete(self, session_key: str | None = None) -> None:
        """Remove a session: this one, unless another is named. Cost: one write."""
        key = self.session_key if session_key is None else session_key
        if key is not None:
            self._map.delete(key)

    async def adelete(self, session_key: str | None = None) -> None:
        """Await ``delete``."""
        key = self.session_key if session_key is None else session_key
        if key is not None:
            await self._map.adelete(key)

    @classmethod
    def clear_expired(cls) -> None:
        """Do nothing: entries expire by themselves."""

    @classmethod
    async def aclear_expired(cls) -> None:
        """Do nothing."""
