"""Sweep: delete the parts of large values that no head names, for ``lpcm sweep``.

Knows engines; which parts those are, ``lpcm.large`` knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lpcm.engine.aliases import resolve, selected
from lpcm.engine.drive import run
from lpcm.engine.insulation import check_fence
from lpcm.errors import ConfigError
from lpcm.system.records import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lpcm.engine.engine import Engine

__all__ = ["Swept", "sweep"]


class Swept(NamedTuple):
    """What a sweep found."""

    values: int
    """The values in parts, those included that a writer may still be storing."""
    swept: int
    """The values whose parts were deleted, because no entry has them."""


def sweep(
    *,
    using: str | Engine = "default",
    maps: Sequence[str] | None = None,
    advance: Callable[[int], object] | None = None,
) -> Swept:
    """Delete the parts that no entry names, of these maps or of the namespace's.

    Writers that died, entries that expired, and batches that went over large values leave them. It
    looks at none that is younger than an hour, and may run beside any number of readers, writers
    and other sweeps; one that was broken off is begun again. ``advance`` is called after each map,
    with how many values it looked at.

    **Cost**: a look at each map in the catalogue, a Query for each hundred values, a read of the
    entry of each that is over an hour old, four requests and a write unit for each KB of what is
    deleted. **Raises** ConfigError where the store keeps no value in parts; MapNotFound for a map
    that was never written.
    """
    return run(_sweep(resolve(using, None), maps, advance))


async def _sweep(
    engine: Engine, names: Sequence[str] | None, advance: Callable[[int], object] | None
) -> Swept:
    large = engine.stack.large
    if large is None:
        raise ConfigError(f"{engine.location}: keeps no value in parts: this is for DynamoDB")
    check_fence(engine.namespace)
    total = Swept(0, 0)
    for name in await selected(engine, names, engine.stack.clock.now()):
        values, swept = await large.sweep(engine.partition(name))
        total = Swept(total.values + values, total.swept + swept)
        if advance is not None:
            advance(values)
    return total
