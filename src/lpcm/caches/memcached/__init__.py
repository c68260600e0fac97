"""memcached as the cache: its protocol (``meta``), and two clients over it.

``servers`` says which server a key belongs to and when a server counts as down; ``cache`` is the
blocking client, over a ``pool`` of ``sockets``; ``aio`` is the client for an event loop.
docs/reference/memcached.md says what URLs and options mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lpcm.caches.memcached.servers import Address, Settings, parse
from lpcm.errors import ConfigError
from lpcm.ports.options import seconds
from lpcm.redact import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from ssl import SSLContext

    from lpcm.caches.memcached.aio import AsyncMemcached
    from lpcm.caches.memcached.cache import Memcached
    from lpcm.ports.findings import Report

__all__ = ["FILES", "OPTIONS", "examine", "open_async_cache", "open_cache"]


OPTIONS: Mapping[str, Callable[[str], object]] = {
    "ca": str,
    "cert": str,
    "connect_timeout": seconds,
    "key": str,
    "timeout": seconds,
}
FILES = frozenset({"ca", "cert", "key"})
"""Options that are paths of files."""
_TLS_ONLY = ("ca", "cert", "key")


def open_cache(path: str, *, scheme: str = "memcached", **options: Any) -> Memcached:
    """Return the blocking client of the servers in ``path``; connects when used."""
    from lpcm.caches.memcached.cache import Memcached  # socket costs 3 ms to import

    return Memcached(*_settings(path, scheme, options))


def open_async_cache(path: str, *, scheme: str = "memcached", **options: Any) -> AsyncMemcached:
    """Return the client of these servers for the running event loop; connects when used."""
    from lpcm.caches.memcached.aio import AsyncMemcached  # asyncio costs 20 ms to import

    return AsyncMemcached(*_settings(path, scheme, options))


async def examine(path: str, report: Report, *, scheme: str = "memcached", **options: Any) -> bool:
    """Report on each server in ``path``, for ``lpcm doctor``."""
    from lpcm.caches.memcached.inspection import examine as look  # as above

    return look(*_settings(path, scheme, options), report)


def _settings(path: str, scheme: str, options: Mapping[str, Any]) -> tuple[list[Address], Settings]:
    unknown = sorted(options.keys() - OPTIONS.keys())
    if unknown:
        raise ConfigError(f"unknown option {unknown[0]!r} for {scheme}")
    tls = {name: options[name] for name in _TLS_ONLY if name in options}
    if tls and scheme != "memcached+tls":
        raise ConfigError(f"option {min(tls)!r} is for memcached+tls, not for {scheme}")
    login = None
    if scheme == "memcached+unix":
        servers = [Address(_socket(each), 0) for each in path.split(",")]
    else:
        servers, login = _parsed(path)
    times = {name: options[name] for name in ("timeout", "connect_timeout") if name in options}
    context = _context(**tls) if scheme == "memcached+tls" else None
    return servers, Settings(**times, login=login, tls=context)


def _parsed(path: str) -> tuple[list[Address], tuple[str, str] | None]:
    try:
        return parse(path)
    except ConfigError as error:
        raise error.with_traceback(None) from None  # its frames hold the password


def _socket(path: str) -> str:
    if not path.startswith("/") or path == "/":
        raise ConfigError(
            f"no unix socket: {redact(path)!r}: write memcached+unix:///absolute/path"
        )
    return path


def _context(ca: str | None = None, cert: str | None = None, key: str | None = None) -> SSLContext:
    if key is not None and cert is None:
        raise ConfigError("option 'key' is the key of a 'cert': give both")
    import ssl  # 6 ms to import, for TLS alone

    try:
        context = ssl.create_default_context(cafile=ca)
        if cert is not None:
            context.load_cert_chain(cert, key)
    except OSError as error:
        raise ConfigError(f"no TLS with {ca or 'the system CAs'}, {cert}: {error}") from error
    return context
