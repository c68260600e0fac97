"""Events: the operations of maps, and the requests these make of stores and caches.

For meters, logs, telemetry, signals and assertions. ``subscribe`` calls a listener with the events
of the process; ``meter`` and ``recorded`` collect those of one thread or task. A listener is called
in the thread or task that the event is of, and must be quick. It must not raise, but for one case:
at the beginning of an ``Operation``, which is not done then.

Without a listener an event costs one look (0.1 µs) and nothing is measured: adapters ask
``has_listeners()`` first, DynamoDB counts the consumed units only for a listener, and a map whose
operations are not observed works on its cache or store directly.

Imports nothing of lpcm. Invariant: changes nothing that is observed.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from typing import TYPE_CHECKING, Any, TypeAlias, get_args

from lpcm.system.records import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

__all__ = [
    "CacheServer",
    "Event",
    "Invalidation",
    "Meter",
    "Operation",
    "Request",
    "Unsealed",
    "emit",
    "has_listeners",
    "meter",
    "recorded",
    "subscribe",
]


class Request(NamedTuple):
    """One request to a remote store and how it ended."""

    store: str
    """The kind of store: ``dynamodb``."""
    endpoint: str
    """The endpoint's URL."""
    operation: str
    """The store's name of the operation: ``GetItem``."""
    seconds: float
    """From before sending until the reply was read or the wait given up."""
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
    """1 for the first attempt; 2 and more for a request that was sent again."""


class Invalidation(NamedTuple):
    """A cached item that could not be invalidated at once, and its later states."""

    key: str
    """The cache's key."""
    state: str
    """``queued``, then ``landed``; ``dropped`` where too many waited: readers may be served
    the old value until its cache TTL ends."""


class CacheServer(NamedTuple):
    """A cache server that lpcm stops using, or uses again."""

    server: str
    """Its address."""
    state: str
    """``down``: it does not answer; ``refused``: it must not be used; ``up``: it answers again."""
    reason: str
    """What went wrong; empty for ``up``."""


class Unsealed(NamedTuple):
    """A cached item that was not made with this client's ``cache_key``, and was not used."""

    key: str
    """The cache's key."""
    seal: str
    """``missing``: made by a client without a key, or by another program; ``wrong``: made with
    another ``cache_key`` or for another item, or damaged."""


class _Record:
    """An object that shows its attributes; no dataclass, which imports ``inspect`` for it."""

    __slots__: tuple[str, ...] = ()

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{type(self).__name__}({shown})"


class Meter(_Record):
    """The sums of the requests to remote stores."""

    __slots__ = ("calls", "errors", "read_units", "received", "seconds", "sent", "write_units")

    def __init__(self) -> None:
        self.calls = 0
        self.read_units = 0.0
        self.write_units = 0.0
        self.sent = 0
        """Bytes."""
        self.received = 0
        """Bytes."""
        self.seconds = 0.0
        self.errors = 0

    def add(self, event: Request) -> None:
        """Add one request."""
        self.calls += 1
        self.read_units += event.read_units
        self.write_units += event.write_units
        self.sent += event.sent
        self.received += event.received
        self.seconds += event.seconds
        self.errors += bool(event.error)


class Operation(_Record):
    """One operation of a map on its cache or store: of a key, of many, or of the whole map.

    It is emitted twice: before it is done, when a listener may raise to prevent it, and when it
    has ``ended``.
    """

    __slots__ = (
        "applied", "cached", "changes", "ended", "error", "keys", "kind", "location", "map",
        "requests", "seconds",
    )  # fmt: skip

    def __init__(
        self,
        map: str,
        kind: str,
        keys: Sequence[Any] = (),
        changes: Sequence[str] = (),
        *,
        cached: bool = False,
        location: str = "",
    ) -> None:
        self.map = map
        """The map's name."""
        self.kind = kind
        """``read``, ``write``, ``scan``, ``count`` or ``clear``."""
        self.keys = keys
        """Its keys; none of a whole map's."""
        self.changes = changes
        """Of a ``write``, for each key: ``set``, ``delete``, ``increment``, ``update`` (of a part
        of the value) or ``expire``."""
        self.cached = cached
        """Whether a cache may have answered."""
        self.location = location
        """The store's URL without its options."""
        self.ended = False
        self.applied: Sequence[bool] = ()
        """Of a ``write`` that has ended, for each key: whether the store has the change."""
        self.seconds = 0.0
        self.requests = Meter()
        """Its requests to a remote store."""
        self.error = ""
        """The class of the exception that it ended with."""

    @property
    def answered(self) -> str:
        """``store``, ``cache``, or ``either`` where that cannot be known.

        A store behind a cache is known to have been asked by its requests; SQLite, which makes
        none, cannot be seen.
        """
        if not self.cached or self.requests.calls:
            return "store"
        return "cache" if self.location.startswith("dynamodb:") else "either"


Event: TypeAlias = Operation | Request | Invalidation | CacheServer | Unsealed
Listener: TypeAlias = "Callable[[Any], object]"

# By kind, then by number: one step adds or removes a listener, so that none needs a lock.
_listeners: dict[type[Event], dict[int, Listener]] = {kind: {} for kind in get_args(Event)}
_numbers = count()
_here: ContextVar[tuple[Listener, ...]] = ContextVar("lpcm_listeners", default=())
_at_change: list[Callable[[], object]] = []


def has_listeners(kind: type[Event] = Request) -> bool:
    """Tell whether an event of this kind, here and now, would reach a listener."""
    if kind is Operation:  # those that listen here have subscribed too
        return bool(_listeners[kind])
    return bool(_listeners[kind] or _here.get())


def emit(event: Event) -> None:
    """Call the listeners with an event."""
    for listener in [*_listeners[type(event)].values(), *_here.get()]:
        listener(event)


@contextmanager
def subscribe(
    listener: Callable[[Any], object], *kinds: type[Event]
) -> Generator[None, None, None]:
    """Call ``listener`` with every event of these kinds, of the whole process, meanwhile.

    Without kinds: all but ``Operation``.

    >>> with subscribe(print):
    ...     emit(Request("dynamodb", "http://localhost:8000", "GetItem", 0.5))
    Request(store='dynamodb', endpoint='http://localhost:8000', operation='GetItem', ...)

    >>> from lpcm import LPCM
    >>> def veto(operation):
    ...     if "delete" in operation.changes:
    ...         raise PermissionError(f"{operation.map} keeps its entries")
    >>> with subscribe(veto, Operation):
    ...     LPCM("ledger").delete("k")
    Traceback (most recent call last):
        ...
    PermissionError: ledger keeps its entries
    """
    from inspect import iscoroutinefunction  # 5 ms: only where somebody listens

    if iscoroutinefunction(listener):
        raise TypeError(f"a listener is called, not awaited: {listener!r} must not be async")
    number = next(_numbers)
    chosen = kinds or tuple(kind for kind in _listeners if kind is not Operation)
    for kind in chosen:
        _listeners[kind][number] = listener
    _tell_maps(chosen)
    try:
        yield
    finally:
        for kind in chosen:
            del _listeners[kind][number]
        _tell_maps(chosen)


def at_change(action: Callable[[], object]) -> None:
    """Have ``action`` called whenever a listener to operations has come or gone."""
    _at_change.append(action)


def _tell_maps(kinds: Sequence[type[Event]]) -> None:
    if Operation in kinds:
        for action in _at_change:
            action()


@contextmanager
def _listening_here(listener: Listener) -> Generator[None, None, None]:
    token = _here.set((*_here.get(), listener))
    try:
        yield
    finally:
        _here.reset(token)


@contextmanager
def meter() -> Generator[Meter, None, None]:
    """Sum the calls, units and bytes of the requests of this thread or task meanwhile.

    Those of the tasks it starts and of what it awaits count too; other threads' do not.

    >>> with meter() as m:
    ...     emit(Request("dynamodb", "http://localhost:8000", "GetItem", 0.5, read_units=1.0))
    >>> m.calls, m.read_units
    (1, 1.0)
    """
    made = Meter()

    def add(event: Event) -> None:
        if isinstance(event, Request):
            made.add(event)

    with _listening_here(add):
        yield made


@contextmanager
def recorded() -> Generator[list[Operation], None, None]:
    """Collect the operations of this thread or task meanwhile.

    Those of the tasks it starts and of what it awaits count too; other threads' do not.

    >>> from lpcm import LPCM
    >>> m = LPCM("m")
    >>> with recorded() as operations:
    ...     m["k"] = 1
    ...     _ = m.get("k"), len(m)
    >>> [(each.kind, each.keys) for each in operations]
    [('write', ['k']), ('read', ['k']), ('count', [])]
    """
    operations: list[Operation] = []

    def keep(event: Event) -> None:
        if isinstance(event, Operation) and event.ended:
            operations.append(event)

    # Maps emit operations only while some listener of the process subscribes to them.
    with subscribe(bool, Operation), _listening_here(keep):
        yield operations
