"""The loop that plays the protocol's generators: one key's, or those of a thousand keys.

Each generator yields a *want*. The loop answers the wants in rounds, one kind of want a round:
as long as any generator wants the cache, all packets go in one pipelined exchange; then all reads
are one call of the store; then all writes; then the longest pause. So bulk is many generators, and
a transaction is bulk whose store call is ``transact``. Knows the wants and how the ports are
called; never why.

Invariant: a failed call is thrown into each generator that waits for it, and every generator is
played to its end, whatever was thrown. So an item that must be invalidated is invalidated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lpcm.coherence.protocol import Fresh, Pause, Read, Write
from lpcm.errors import LPCMError
from lpcm.ports import CacheLost, Packet

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Sequence

    from lpcm.coherence.protocol import Want
    from lpcm.ports import Cache, Clock, Op, Outcome, Stored

__all__ = ["Calls", "play"]


class Calls(NamedTuple):
    """The calls of the ports that answer the generators."""

    cache: Cache
    clock: Clock
    read: Callable[[Sequence[str]], Awaitable[Sequence[Stored | None]]]
    """Read the entries of these keys from the store."""
    write: Callable[[Sequence[tuple[str, Op]]], Awaitable[Sequence[Outcome | Exception]]]
    """Do these writes; an exception in place of an outcome concerns that write alone."""


class _Failed:
    """The kind of a round whose call failed: its answers are thrown."""


_KINDS: Final = (Packet, Fresh, Read, Write, Pause)
"""The kinds of wants in the order in which they are answered: the store after every packet."""


async def play(generators: Sequence[Generator[Want, Any, Any]], calls: Calls) -> list[Any]:
    """Play all generators to their ends; return each one's result, or its error of lpcm.

    **Raises** any other exception: a cancellation, an interruption.
    """
    results: list[Any] = [None] * len(generators)
    # By kind: the numbers of the generators with a want of that kind, and their wants.
    wants: dict[type, tuple[list[int], list[Any]]] = {each: ([], []) for each in _KINDS}
    waiting: Sequence[int] = range(len(generators))
    answers: Sequence[Any] = results
    kind: type = Packet
    fatal: BaseException | None = None
    while True:
        thrown = kind is not Packet
        for at, answer in zip(waiting, answers, strict=True):
            try:
                if thrown and isinstance(answer, BaseException):
                    want = generators[at].throw(answer)
                else:
                    want = generators[at].send(answer)
            except StopIteration as end:
                results[at] = end.value
            except LPCMError as error:
                results[at] = error
            except BaseException as error:  # noqa: BLE001  # raised below, when all have ended
                own = kind is Write and error is answer  # the failure of this write alone
                results[at], fatal = (error, fatal) if own else (None, error)
            else:
                numbers, wants_of_kind = wants[type(want)]
                numbers.append(at)
                wants_of_kind.append(want)
        for kind in _KINDS:
            waiting, wants_of_kind = wants[kind]
            if waiting:
                break
        else:
            break
        wants[kind] = [], []
        try:
            if kind is Packet:
                answers = await exchange(calls.cache, wants_of_kind)
            elif kind is Read:
                answers = await calls.read([each.sk for each in wants_of_kind])
            elif kind is Write:
                answers = await calls.write(wants_of_kind)
            elif kind is Fresh:
                answers, kind = await _on_fresh_connections(calls.cache, wants_of_kind), Packet
            else:
                await calls.clock.sleep(max(each.seconds for each in wants_of_kind))
                answers = [None] * len(wants_of_kind)
        except BaseException as error:  # noqa: BLE001  # thrown into the generators
            if not isinstance(error, LPCMError):  # cancelled or interrupted: begin no further call
                for each in _KINDS:
                    waiting = [*waiting, *wants[each][0]]
                    wants[each] = [], []
            answers, kind = [error] * len(waiting), _Failed
    if fatal is not None:
        raise fatal
    return results


async def exchange(cache: Cache, packets: Sequence[Packet]) -> list[Any]:
    """Send packets, pipelined; CacheLost stands in the result in place of lost replies."""
    if len(packets) == 1:
        try:
            return [await cache.send(packets[0])]
        except CacheLost as lost:
            return [lost]
    return list(await cache.send_many(packets))


async def _on_fresh_connections(cache: Cache, wants_of_kind: Sequence[Fresh]) -> list[Any]:
    """Send each packet over a new connection; once a connection fails, send no more."""
    answers: list[Any] = []
    while len(answers) < len(wants_of_kind):
        lost = next((each for each in answers if isinstance(each, CacheLost)), None)
        if lost is None:
            try:
                answers.append(await cache.send(wants_of_kind[len(answers)].packet, fresh=True))
            except CacheLost as loss:
                answers.append(loss)
        else:
            answers.append(lost)
    return answers
