"""Processes: whether this is still the process that something was made in.

A fork copies sockets, locks and random numbers drawn in advance, and a child that uses them
receives the replies to its parent's requests. ``os.register_at_fork`` does not suffice: a fork
made in C (uWSGI's workers, an extension) runs no hook of Python. So whatever must not cross a
fork is registered here, and looked after in one of two ways:

- at a fork made by Python: at once, in the child;
- at any other fork: at the first *point of use* in the child, which asks ``same[0]`` before it
  touches anything registered, and calls ``forked()`` where that is 0:
  ``if not same[0]: forked()``.

``same`` is one byte of a private page that Linux wipes in the child of any fork
(``MADV_WIPEONFORK``, since 4.14); reading it costs 20 ns and calls no Python function. Elsewhere
it compares ``os.getpid()``, for ten times as much. Without ``os.fork`` it is constant.

Knows nothing of what is registered. Invariant: in each process that ``same`` finds new, every
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
    """What tells, by its only item, whether this process is known already."""

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
# One for each process, for whoever held the parent's is not in the child to release it.
_locks: dict[int, threading.RLock] = {}
_this = object()

T = TypeVar("T")


def after_fork_in_child(action: Callable[[], object]) -> None:
    """Have ``action`` called once in each child of a fork, before anything registered is used.

    Only the forking thread goes on in a child, wherever the others were, so ``action`` replaces
    locks instead of acquiring them. Actions are called in the order they were registered, and
    again from the first where one was interrupted. Those who register ask ``same[0]`` at their
    own points of use.

    >>> items = [1, 2]
    >>> after_fork_in_child(items.clear)
    """
    _actions.append(action)


def follow(thing: T, action: Callable[[T], object]) -> None:
    """Have ``action(thing)`` called likewise, as long as the thing is alive."""
    number, pop = next(_numbers), _followed.pop

    def forget(_: object) -> None:
        pop(number, None)

    _followed[number] = ref(thing, forget), action


def forked() -> None:
    """Do what is registered for a new process; return at once where that is done.

    In a child with several threads, all that come here return when it is done.
    """
    global _this  # noqa: PLW0603  # what ``this`` returns is of one process
    pid = os.getpid()
    with _locks.setdefault(pid, threading.RLock()):
        if same[0]:
            return
        _this = object()
        for action in _actions:
            action()
            if same[0]:  # a signal handler has done all of it meanwhile
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
    """Return what stands for this process, to compare by ``is`` with what it returned before.

    >>> made_in = this()
    >>> this() is made_in
    True
    """
    if not same[0]:
        forked()
    return _this


class Lock:
    """A lock that no child of a fork finds held: ``with lock():``.

    Reentrant. Calling it gives the lock of this process, so that who holds it releases the one
    he acquired.
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
    """Let a socket's descriptor lead nowhere in this process; the parent's goes on.

    Closing it instead would free its number, under which an event loop's selector, which parent
    and child share after a fork, still tells what happens on the parent's.
    """
    import socket  # 5 ms to import, for who has sockets

    ours, other = socket.socketpair()
    with ours, other:
        ours.setblocking(False)
        os.dup2(ours.fileno(), descriptor, inheritable=False)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forked)
