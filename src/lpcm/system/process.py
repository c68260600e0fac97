"""Processes: whether the current process is still the one that an object was made in.

A fork copies sockets, locks and random numbers drawn in advance. A child that used them would
receive the replies to its parent's requests. ``os.register_at_fork`` does not suffice: a fork
made in C (uWSGI's workers, an extension) runs no hook of Python. So an action is registered here
for every object that must not cross a fork. The actions run

- at a fork made by Python: at once, in the child;
- at any other fork: at the first *point of use* in the child. A point of use checks ``same[0]``
  before it touches a registered object, and calls ``forked()`` where that is 0:
  ``if not same[0]: forked()``.

``same`` is one byte of a private page that Linux wipes in the child of any fork
(``MADV_WIPEONFORK``, since 4.14); reading it costs 20 ns and calls no Python function. Elsewhere
``same`` compares ``os.getpid()``, for ten times as much. Without ``os.fork`` it is constant.

Knows nothing of the registered objects. Invariant: in each process that ``same`` finds new, every
registered action has ended before the first ``forked()`` returns.
"""

from __future__ import annotations

import mmap
import os
import threading
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from weakref import ref

if TYPE_CHECKING:
    from collections.abc import Callable
    from weakref import ReferenceType

__all__ = ["Lock", "after_fork_in_child", "follow", "forked", "same", "sever", "this"]

_WIPE_ON_FORK = 18  # MADV_WIPEONFORK: the module mmap has no name for it


class Same(Protocol):
    """An object whose only item says whether this process is known already."""

    def __getitem__(self, index: int, /) -> int:
        """Return 0 in a process that is new."""
        ...


class _Pid:
    """The same by comparing process ids."""

    def __init__(self) -> None:
        self._pid = os.getpid()

    def __getitem__(self, index: int, /) -> int:
        return os.getpid() == self._pid

    def __setitem__(self, index: int, value: int, /) -> None:
        self._pid = os.getpid()


def _page() -> Any:
    if not hasattr(os, "fork"):
        return bytearray(1)
    if not hasattr(mmap, "MAP_ANONYMOUS"):
        return _Pid()
    page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        page.madvise(_WIPE_ON_FORK)
    except OSError:  # another system, an older Linux, or an emulation of it
        page.close()
        return _Pid()
    return page


_state = _page()
_state[0] = 1
same: Same = _state
"""Its item 0 is 0 in the child of a fork, until ``forked`` has returned there."""

_actions: list[Callable[[], object]] = []
_followed: dict[int, tuple[ReferenceType[Any], Callable[[Any], object]]] = {}
_numbers = count()
# One for each process: a thread that held the parent's lock is not in the child to release it.
_locks: dict[int, threading.RLock] = {}
_this = object()

T = TypeVar("T")


def after_fork_in_child(action: Callable[[], object]) -> None:
    """Call ``action`` once in each child of a fork, before a registered object is used there.

    Only the forking thread goes on in a child, wherever the other threads were, so ``action``
    replaces locks instead of acquiring them. Actions are called in the order in which they were
    registered, and again from the first where one was interrupted. The caller checks ``same[0]``
    at its own points of use.

    >>> items = [1, 2]
    >>> after_fork_in_child(items.clear)
    """
    _actions.append(action)


def follow(thing: T, action: Callable[[T], object]) -> None:
    """Call ``action(thing)`` likewise, as long as the thing is alive."""
    number, pop = next(_numbers), _followed.pop

    def forget(_: object) -> None:
        pop(number, None)

    _followed[number] = ref(thing, forget), action


def forked() -> None:
    """Run the registered actions in a new process; return at once where they have run.

    In a child with several threads, each call returns when the actions have run.
    """
    global _this  # noqa: PLW0603  # the object that ``this`` returns is one process's
    pid = os.getpid()
    with _locks.setdefault(pid, threading.RLock()):
        if same[0]:
            return
        _this = object()
        for action in _actions:
            action()
            if same[0]:  # a signal handler has run all actions meanwhile
                return
        for reference, look_after in list(_followed.values()):
            thing = reference()
            if thing is not None:
                look_after(thing)
            if same[0]:
                return
        if os.getpid() == pid:
            _state[0] = 1
    if not same[0]:  # an action forked, and here its child goes on
        forked()


def this() -> object:
    """Return an object that stands for this process, to be compared by ``is`` with an earlier one.

    >>> made_in = this()
    >>> this() is made_in
    True
    """
    if not same[0]:
        forked()
    return _this


class Lock:
    """A lock that no child of a fork finds held: ``with lock():``.

    Reentrant. A call returns the lock of this process, so that ``with`` releases the lock that it
    acquired.
    """

    __slots__ = ("__weakref__", "_held")

    def __init__(self) -> None:
        self._held = threading.RLock()
        follow(self, Lock._renew)

    def __call__(self) -> threading.RLock:
        """Return the lock."""
        if not same[0]:
            forked()
        return self._held

    def _renew(self) -> None:
        self._held = threading.RLock()


def sever(descriptor: int) -> None:
    """Disconnect a socket's descriptor in this process; the parent's descriptor stays connected.

    Closing the descriptor instead would free its number. An event loop's selector, which parent
    and child share after a fork, still reports the parent's socket under that number.
    """
    import socket  # 5 ms to import, for programs with sockets alone

    ours, other = socket.socketpair()
    with ours, other:
        ours.setblocking(False)
        os.dup2(ours.fileno(), descriptor, inheritable=False)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forked)
