"""Targets: where a history is recorded, which faults may happen there, and what is then promised.

On a user's own stack (``users_own``) faults happen only to connections that go through a proxy of
ours, and to the clients.
"""

from __future__ import annotations

import random
from collections import Counter
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

from lpcm.engine import config
from lpcm.verify import nemesis, proxy

if TYPE_CHECKING:
    import random
    from collections.abc import Generator

    from lpcm.verify.proxy import Proxy

__all__ = ["MEMCACHED", "Target", "users_own", "with_options"]

_SWAYED = proxy.Faults(hold=0.1, delay=0.02, seconds=(0.001, 0.02))
MEMCACHED = _SWAYED, _SWAYED._replace(refuse=0.001, lose=0.002, cut=0.001)


class Target:
    """A URL to work on, and the faults that may happen there."""

    def __init__(self, url: str, *, relaxed: bool, kills_clients: bool) -> None:
        self.url = url
        self.relaxed = relaxed
        """Whether reads may be old: ``available`` mode, with a cache that is cut off, or where the
        store was opened for eventual reads."""
        self.kills_clients = kills_clients
        self.faults: nemesis.Faults = {}
        self._between: dict[str, tuple[Proxy, tuple[proxy.Faults, ...]]] = {}

    def through(self, name: str, between: Proxy, *faults: proxy.Faults) -> None:
        """Have a proxy inject one of these sets of faults in each round; the first is gentlest."""
        self._between[name] = between, faults

    def begin(self, rng: random.Random, *, gently: bool) -> None:
        """Begin a round: choose the faults of each proxy."""
        for between, faults in self._between.values():
            between.faults = faults[0] if gently else rng.choice(faults)
            between.counts.clear()

    def quiet(self) -> None:
        """End a round: no proxy injects faults any more."""
        for between, _ in self._between.values():
            between.faults = proxy.Faults()

    def counts(self) -> Counter[str]:
        """Return how often each fault of each proxy happened in this round."""
        found: Counter[str] = Counter()
        for name, (between, _) in self._between.items():
            for fault in proxy.Faults._fields:
                if between.counts[fault]:
                    found[f"{name}: {fault}"] = between.counts[fault]
        return found


@contextmanager
def users_own(url: str) -> Generator[Target, None, None]:
    """Yield a user's own stack, with its memcached behind proxies of ours.

    TLS and unix sockets cannot go through a proxy: there, and where there is no cache, only
    clients are stopped and killed.
    """
    settings = config.parse(url)
    cut_off = settings.cache is not None and not settings.strict
    made = Target(url, relaxed=cut_off or _is_eventual(settings), kills_clients=not cut_off)
    if settings.cache is None or settings.cache.scheme != "memcached":
        yield made
        return
    with ExitStack() as stack:
        login, at, hosts = settings.cache.path.rpartition("@")
        addresses: list[str] = []
        for number, each in enumerate(hosts.split(",")):
            host, _, port = each.rpartition(":") if ":" in each else (each, "", "11211")
            front = stack.enter_context(proxy.proxy(host.strip("[]"), int(port)))
            name = f"cache {number}" if "," in hosts else "cache"
            made.through(name, front, *MEMCACHED)
            made.faults.update(nemesis.of_proxy(front, name))
            addresses.append(f"{front.host}:{front.port}")
        made.url = _with_cache(url, f"memcached://{login}{at}{','.join(addresses)}")
        yield made


def _is_eventual(settings: config.Config) -> bool:
    """Tell whether single reads may miss the last writes: never where they fill a cache."""
    eventual = dict(settings.store_options).get("consistency") == "eventual"
    return eventual and settings.cache is None and settings.max_stale is None


def _with_cache(url: str, cache: str) -> str:
    """Return the URL with other servers in its cache's URL; the cache's options stay."""
    query = dict(parse_qsl(url.partition("?")[2], keep_blank_values=True))
    _, mark, options = query["cache"].partition("?")
    return with_options(url, cache=f"{cache}{mark}{options}")


def with_options(url: str, **options: str) -> str:
    """Return the URL with these options.

    >>> with_options("sqlite:////tmp/a.sqlite3?ttl=60", namespace="n", ttl="5")
    'sqlite:////tmp/a.sqlite3?ttl=5&namespace=n'
    """
    start, _, query = url.partition("?")
    given = {**dict(parse_qsl(query, keep_blank_values=True)), **options}
    return f"{start}?{urlencode(given)}"
