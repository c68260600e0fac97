"""Events: what lpcm asks of stores and caches, for meters, logs and telemetry.

Every request to a remote store is one ``Request`` event; an invalidation that has to wait
for an unreachable cache is an ``Invalidation``, a cache server that goes or comes back a
``CacheServer``, and a cached item that was not believed ``Unsealed``. Who listens is called in
the thread or task that made the request, after its reply, and must be quick and never raise.

Without a listener an event costs one look (0.1 µs) and nothing is measured: adapters ask
``has_listeners()`` first, and have DynamoDB count the consumed units only where someone listens.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = [
    "CacheServer",
    "Event",
    "Invalidation",
    "Meter",
    "Request",
    "Unsealed",
    "emit",
    "has_listeners",
    "meter",
    "subscribe",
]


class Request(NamedTuple):
    """One request to a remote store and how it ended."""

    store: str
    """The kind of store: ``dynamodb``."""
    endpoint: str
    """Where it went."""
    operation: str
    """The store's name for it: ``GetItem``."""
    seconds: float
    """From before sending until the reply was read or given up."""
    error: str = ""
    """Empty for success; else the store's short code, or the class of the failure."""
    read_units: float = 0.0
    """Read capacity units the store says it consumed."""
    write_units: float = 0.0
    """Write capacity units the store says it consumed."""
    sent: int = 0
    """Bytes sent."""
    received: int = 0
    """Bytes received."""
    attempt: int = 1
    """1 for the first; 2 and more for what was sent again."""


class Invalidation(NamedTuple):
    """A cached item that could not be invalidated at once, and what became of it."""

    key: str
    """The cache's key."""
    state: str
    """``queued``, then ``landed``; ``dropped`` where too many waited: readers may be served
    the old value until its cache TTL ends."""


class CacheServer(NamedTuple):
    """A cache server that is no longer asked, or is again."""

    server: str
    """Its address."""
    state: str
    """``down``: it does not answer; ``refused``: it must not be used; ``up``: it is back."""
    reason: str
    """What happened; empty for ``up``."""


class Unsealed(NamedTuple):
    """A cached item that was not made with this client's ``cache_key``, and was not believed."""

    key: str
    """The cache's key."""
    seal: str
    """``missing``: by a client without a key, or by a stranger; ``wrong``: with another key, for
    another place, or damaged."""


Event: TypeAlias = Request | Invalidation | CacheServer | Unsealed

_listeners: tuple[Callable[[Event], object], ...] = ()
_meters: ContextVar[tuple[Meter, ...]] = ContextVar("lpcm_meters", default=())


def has_listeners() -> bool:
    """Tell whether anyone listens here."""
    return bool(_listeners or _meters.get())


def emit(event: Event) -> None:
    """Tell everyone who listens here."""
    for listener in _listeners:
        listener(event)
    if isinstance(event, Request):
        for each in _meters.get():
            each.add(event)


@contextmanager
def subscribe(listener: Callable[[Event], object]) -> Generator[None, None, None]:
    """Call ``listener`` with every event of the process meanwhile.

    >>> with subscribe(print):
    ...     emit(Request("dynamodb", "http://localhost:8000", "GetItem", 0.5))
    Request(store='dynamodb', endpoint='http://localhost:8000', operation='GetItem', ...)
    """
    global _listeners  # noqa: PLW0603  # a tuple replaced whole: emit needs no lock
    _listeners = (*_listeners, listener)
    try:
        yield
    finally:
        rest = list(_listeners)
        rest.remove(listener)
        _listeners = tuple(rest)


@dataclass(slots=True)
class Meter:
    """The sums of what was asked of remote stores within ``meter()``."""

    calls: int = 0
    read_units: float = 0.0
    write_units: float = 0.0
    sent: int = 0
    """Bytes."""
    received: int = 0
    """Bytes."""
    seconds: float = 0.0
    errors: int = 0

    def add(self, event: Request) -> None:
        """Add one request."""
        self.calls += 1
        self.read_units += event.read_units
        self.write_units += event.write_units
        self.sent += event.sent
        self.received += event.received
        self.seconds += event.seconds
        self.errors += bool(event.error)


@contextmanager
def meter() -> Generator[Meter, None, None]:
    """Sum the calls, units and bytes of what this thread or task does meanwhile.

    What it awaits and the tasks it starts count too; other threads and tasks do not.

    >>> with meter() as m:
    ...     emit(Request("dynamodb", "http://localhost:8000", "GetItem", 0.5, read_units=1.0))
    >>> m.calls, m.read_units
    (1, 1.0)
    """
    made = Meter()
    token = _meters.set((*_meters.get(), made))
    try:
        yield made
    finally:
        _meters.reset(token)
