"""``stores["alias"]``: Django's way to what ``LPCM(name, using="alias")`` works on.

An engine is shared by all threads and event loops of the process. What it keeps for each of
them (SQLite's connections, an event loop's sockets) ends with the thread or the loop, so a
request leaves nothing behind that its end would have to close; the process closes the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils.connection import BaseConnectionHandler

from lpcm import close
from lpcm.administration import open_engine
from lpcm.django import conf
from lpcm.errors import ConfigError

__all__ = ["StoreHandler", "stores"]

if TYPE_CHECKING:
    from lpcm import Engine

    _Handler = BaseConnectionHandler[Engine]
else:
    _Handler = BaseConnectionHandler


class StoreHandler(_Handler):
    """The engines of ``settings.LPCM`` by alias."""

    settings_name = "LPCM"
    exception_class = ConfigError

    def configure_settings(self, settings: dict[str, Any] | None) -> dict[str, Any]:
        """Return the aliases, ``default`` among them whatever the settings say."""
        known = conf.aliases() if settings is None else settings
        return {"default": {}, **known}

    def create_connection(self, alias: str) -> Engine:
        """Return the engine."""
        return open_engine(alias)

    def __getitem__(self, alias: str) -> Engine:
        # Not kept for each thread: it changes with settings, tests and lpcm.configure.
        if alias not in self.settings:
            known = ", ".join(sorted(self.settings))
            raise ConfigError(f"LPCM has no alias {alias!r}: use one of {known}")
        return self.create_connection(alias)

    def forget(self) -> None:
        """Read the settings again when asked next."""
        self.__dict__.pop("settings", None)
        self._settings = None

    def close_all(self) -> None:
        """Close what the process has open; maps open it again when used."""
        close()


stores = StoreHandler()
