"""The loop that plays the protocol's generators: one key's, or those of a thousand keys.

Every generator says what it wants. While any wants the cache, their packets go in one pipelined
exchange; then what is wanted of the store is one call; then comes the pause. So bulk is many
generators, and a transaction is bulk whose store call is ``transact``. Knows what is wanted and
how ports are called; never why.

Invariant: a failure is thrown into each generator that waits for what failed, and the generators
then play to their ends, whatever was thrown: what must be invalidated is.
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
    """How wishes are granted."""

    cache: Cache
    clock: Clock
    read: Callable[[Sequence[str]], Awaitable[Sequence[Stored | None]]]
    """Read these keys' entries from the store."""
    write: Callable[[Sequence[tuple[str, Op]]], Awaitable[Sequence[Outcome | Exception]]]
    """Do these writes; an exception in the place of an outcome is that write's own."""


class _Failed:
    """The kind of a round whose call failed: each answer is thrown."""


_KINDS: Final = (Packet, Fresh, Read, Write, Pause)
"""What is granted before what, so that a round of the store waits for every packet."""


async def play(works: Sequence[Generator[Want, Any, Any]], calls: Calls) -> list[Any]:
    """Play all to their ends; return what each returned, or the error of lpcm that it raised.

    **Raises** anything else: a cancellation, an interruption.
    """
    results: list[Any] = [None] * len(works)
    # By kind: the numbers of the generators that want it, and their wishes in the same order.
    wants: dict[type, tuple[list[int], list[Any]]] = {each: ([], []) for each in _KINDS}
    waiting: Sequence[int] = range(len(works))
    answers: Sequence[Any] = results
    kind: type = Packet
    fatal: BaseException | None = None
    while True:
        thrown = kind is not Packet
        for at, answer in zip(waiting, answers, strict=True):
            try:
                if thrown and isinstance(answer, BaseException):
                    want = works[at].throw(answer)
                else:
                    want = works[at].send(answer)
            except StopIteration as end:
                results[at] = end.value
            except LPCMError as error:
                results[at] = error
            except BaseException as error:  # noqa: BLE001  # raised below, when all have ended
                own = kind is Write and error is answer  # what this write failed by
                results[at], fatal = (error, fatal) if own else (None, error)
            else:
                numbers, wishes = wants[type(want)]
                numbers.append(at)
                wishes.append(want)
        for kind in _KINDS:
            waiting, wishes = wants[kind]
            if waiting:
                break
        else:
            break
        wants[kind] = [], []
        try:
            if kind is Packet:
                answers = await exchange(calls.cache, wishes)
            elif kind is Read:
                answers = await calls.read([each.sk for each in wishes])
            elif kind is Write:
                answers = await calls.write(wishes)
            elif kind is Fresh:
                answers, kind = await _anew(calls.cache, wishes), Packet
            else:
                await calls.clock.sleep(max(each.seconds for each in wishes))
                answers = [None] * len(wishes)
        except BaseException as error:  # noqa: BLE001  # each generator raises it, or another
            if not isinstance(error, LPCMError):  # cancelled or broken off: begin nothing more
                for each in _KINDS:
                    waiting = [*waiting, *wants[each][0]]
                    wants[each] = [], []
            answers, kind = [error] * len(waiting), _Failed
    if fatal is not None:
        raise fatal
    return results


async def exchange(cache: Cache, packets: Sequence[Packet]) -> list[Any]:
    """Send packets, pipelined; what was lost stands in the result."""
    if len(packets) == 1:
        try:
            return [await cache.send(packets[0])]
        except CacheLost as lost:
            return [lost]
    return list(await cache.send_many(packets))


async def _anew(cache: Cache, wishes: Sequence[Fresh]) -> list[Any]:
    """Send each over a connection of its own; none after one that could not be had."""
    answers: list[Any] = []
    while len(answers) < len(wishes):
        lost = next((each for each in answers if isinstance(each, CacheLost)), None)
        if lost is None:
            try:
                answers.append(await cache.send(wishes[len(answers)].packet, fresh=True))
            except CacheLost as loss:
                answers.append(loss)
        else:
            answers.append(lost)
    return answers
