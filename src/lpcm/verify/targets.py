"""Targets: where a history is recorded, what may be hurt there, and what may be expected then.

On somebody's own stack (``theirs``) only connections that are led through proxies are hurt, and
the clients.
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

__all__ = ["MEMCACHED", "Stand", "theirs", "with_options"]

_SWAYED = proxy.Faults(hold=0.1, delay=0.02, seconds=(0.001, 0.02))
MEMCACHED = _SWAYED, _SWAYED._replace(refuse=0.001, lose=0.002, cut=0.001)


class Stand:
    """A URL to work on, and what may happen there."""

    def __init__(self, url: str, *, relaxed: bool, kills_clients: bool) -> None:
        self.url = url
        self.relaxed = relaxed
        """Whether reads may be old: ``available`` mode, with a cache that is cut off."""
        self.kills_clients = kills_clients
        self.faults: nemesis.Faults = {}
        self._between: dict[str, tuple[Proxy, tuple[proxy.Faults, ...]]] = {}

    def through(self, name: str, between: Proxy, *faults: proxy.Faults) -> None:
        """Have a proxy hurt, in each round in one of these ways; the first is the gentlest."""
        self._between[name] = between, faults

    def begin(self, rng: random.Random, *, gently: bool) -> None:
        """Begin a round: choose how proxies hurt in it."""
        for between, faults in self._between.values():
            between.faults = faults[0] if gently else rng.choice(faults)
            between.counts.clear()

    def quiet(self) -> None:
        """End a round: proxies hurt no more."""
        for between, _ in self._between.values():
            between.faults = proxy.Faults()

    def counts(self) -> Counter[str]:
        """Return what the proxies did in this round."""
        found: Counter[str] = Counter()
        for name, (between, _) in self._between.items():
            for fault in proxy.Faults._fields:
                if between.counts[fault]:
                    found[f"{name}: {fault}"] = between.counts[fault]
        return found


@contextmanager
def theirs(url: str) -> Generator[Stand, None, None]:
    """Give somebody's own stack, its memcached behind proxies of ours.

    Servers over TLS and unix sockets cannot be led through one: there, and where there is no
    cache, only clients are stopped and killed.
    """
    settings = config.parse(url)
    relaxed = settings.cache is not None and not settings.strict
    made = Stand(url, relaxed=relaxed, kills_clients=not relaxed)
    if settings.cache is None or settings.cache.scheme != "memcached":
        yield made
        return
    with ExitStack() as stack:
        login, at, hosts = settings.cache.path.rpartition("@")
        places: list[str] = []
        for number, each in enumerate(hosts.split(",")):
            host, _, port = each.rpartition(":") if ":" in each else (each, "", "11211")
            front = stack.enter_context(proxy.proxy(host.strip("[]"), int(port)))
            name = f"cache {number}" if "," in hosts else "cache"
            made.through(name, front, *MEMCACHED)
            made.faults.update(nemesis.of_proxy(front, name))
            places.append(f"{front.host}:{front.port}")
        made.url = _with_cache(url, f"memcached://{login}{at}{','.join(places)}")
        yield made


def _with_cache(url: str, cache: str) -> str:
    """Return the URL with other servers in its cache's URL, whose options stay."""
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
