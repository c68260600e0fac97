"""How lpcm grows: what operations of a map in SQLite cost with 10^3, 10^4, ... entries.

``python benchmarks/growth.py`` goes up to 10^6, in a minute or two; ``--largest 7`` to 10^7, which
takes ten times as long and 3 GB. Prints a table and, with ``--write``, writes ``results/growth.md``
and ``growth.svg``. Processor time, at all sizes in turns, and of diskcache.Index beside it:

- *get*, *put*: one entry at random, the near cache off, a put that survives the process;
- *len*; *page*: the keys and values of the first 100 entries of a range that begins at random;
- *clear*: all entries, the time for each.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from itertools import islice
from math import ceil, floor, log10
from pathlib import Path
from typing import TYPE_CHECKING, Any

import diskcache
from report import GREY, OTHERS, OURS, cpu, duration, plain

from lpcm import LPCM, Engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

RESULTS = Path(__file__).parent / "results"
OPERATIONS = ("get", "put", "len", "page", "clear")
ROUNDS = 7
_BATCH = 10_000

Figures = dict[tuple[str, str], list[float]]
"""By library and operation: the seconds at each size."""


def key(number: int) -> str:
    return f"user/{number:08d}"


class OfLPCM:
    """A map of lpcm."""

    def __init__(self, folder: Path) -> None:
        url = f"sqlite:///{folder}/lpcm.sqlite3?synchronous=normal&near_cache=0"
        self._engine = Engine.open(url)
        self._map: LPCM[str, str] = LPCM("growth", using=self._engine)
        self.get, self.put, self.clear = (
            self._map.__getitem__,
            self._map.__setitem__,
            self._map.clear,
        )
        self.fill = self._map.set_many
        self.close = self._engine.close

    def len(self) -> int:
        return len(self._map)

    def page(self, start: str) -> object:
        return list(self._map.items(start=start, limit=100))


class OfIndex:
    """A diskcache.Index, which keeps its order of insertion, and so has no ranges."""

    page = None

    def __init__(self, folder: Path) -> None:
        self._cache = diskcache.Cache(
            str(folder / "index"), eviction_policy="none", sqlite_synchronous=1
        )
        self._map = diskcache.Index.fromcache(self._cache)
        self.get, self.put, self.clear = (
            self._map.__getitem__,
            self._map.__setitem__,
            self._map.clear,
        )
        self.close = self._cache.close

    def len(self) -> int:
        return len(self._map)

    def fill(self, entries: Mapping[str, str]) -> None:
        with self._map.transact():
            for name, value in entries.items():
                self._map[name] = value


LIBRARIES: Mapping[str, Callable[[Path], Any]] = {"lpcm": OfLPCM, "diskcache.Index": OfIndex}


def each(function: Callable[[Any], object], arguments: Sequence[Any]) -> float:
    """Return the processor's seconds of one call."""
    began = time.process_time()
    for argument in arguments:
        function(argument)
    return (time.process_time() - began) / len(arguments)


def filled(library: str, size: int, folder: Path) -> Any:
    """Return a map of so many entries."""
    folder = folder / f"{library} {size}"
    folder.mkdir()
    made = LIBRARIES[library](folder)
    numbers = iter(range(size))
    while batch := {key(number): f"{number:0100}" for number in islice(numbers, _BATCH)}:
        made.fill(batch)
    return made


def turn(one: Any, names: Sequence[str]) -> dict[str, float]:
    """Return what the operations of a map take, but for clear."""
    found = {
        "get": each(one.get, names),
        "put": each(lambda name: one.put(name, f"{time.time():0100}"), names),
        "len": each(lambda _: one.len(), names[:3]),
    }
    if one.page is not None:
        found["page"] = each(one.page, names[:20])
    return found


def measured(sizes: Sequence[int], folder: Path) -> Figures:
    """Measure all libraries at all sizes, in turns."""
    maps = {(name, size): filled(name, size, folder) for size in sizes for name in LIBRARIES}
    rng = random.Random(7)
    seen: dict[tuple[str, int, str], list[float]] = {}
    for _ in range(ROUNDS):
        for (library, size), one in maps.items():
            names = [key(rng.randrange(size)) for _ in range(200)]
            for operation, seconds in turn(one, names).items():
                seen.setdefault((library, size, operation), []).append(seconds)
    for (library, size), one in maps.items():
        seen[library, size, "clear"] = [each(lambda _, one=one: one.clear(), [None]) / size]
        one.close()
    figures: Figures = {}
    for (library, _, operation), times in seen.items():
        figures.setdefault((library, operation), []).append(statistics.median(times))
    return figures


def table(sizes: Iterable[int], figures: Figures) -> list[list[str]]:
    rows = [["", *(f"{size:,}" for size in sizes)]]
    for operation in OPERATIONS:
        rows += [
            [f"{operation}, {library}", *map(duration, figures[library, operation])]
            for library in LIBRARIES
            if (library, operation) in figures
        ]
    return rows


def page(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
    lines += [f"| {' | '.join(row)} |" for row in body]
    about = (__doc__ or "").partition("``growth.svg``. ")[2].strip()
    how = (
        f"Medians of {ROUNDS} turns, values of 100 characters, on {cpu()}, by `python "
        "benchmarks/growth.py --write`. Look at how a row changes: the times are this machine's."
    )
    return "\n".join(["# How lpcm grows", "", about, "", how, "", *lines, ""])


def plot(sizes: Sequence[int], figures: Figures, path: Path) -> None:
    """Draw a line for each library, a chart for each operation."""
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    mpl.rcParams.update({
        "svg.hashsalt": "lpcm",
        "font.size": 9,
        "text.color": GREY,
        "xtick.color": GREY,
        "ytick.color": GREY,
        "axes.edgecolor": GREY,
    })  # fmt: skip
    figure, axes = plt.subplots(1, len(OPERATIONS), figsize=(2.2 * len(OPERATIONS), 2.6))
    for axis, operation in zip(axes, OPERATIONS, strict=True):
        shown: list[float] = []
        for library, colour in zip(LIBRARIES, (OURS, OTHERS), strict=True):
            if times := [1e6 * each for each in figures.get((library, operation), ())]:
                axis.plot(sizes, times, "o-", color=colour, label=library)
                shown += times
        axis.set_xscale("log")
        axis.set_yscale("log")
        # Whole powers of ten, so that a small difference does not look like a large one.
        axis.set_ylim(10 ** floor(log10(min(shown))), 10 ** ceil(log10(max(shown))))
        axis.minorticks_off()
        axis.set_title(f"{operation}, µs", fontsize=10, loc="left", color=GREY)
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle("One operation by the number of entries, lower is better", fontsize=11)
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=2, frameon=False, labelcolor=GREY)
    figure.savefig(path, transparent=True, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--largest", type=int, default=6, help="the exponent of the last size")
    parser.add_argument("--folder", help="where to put files; default: the temporary directory")
    parser.add_argument("--write", action="store_true", help="write results/growth.md and .svg")
    given = parser.parse_args()
    sizes = [10**exponent for exponent in range(3, given.largest + 1)]
    with tempfile.TemporaryDirectory(prefix="lpcm-bench-", dir=given.folder) as folder:
        figures = measured(sizes, Path(folder))
    rows = table(sizes, figures)
    print(plain(rows))
    if given.write:
        (RESULTS / "growth.md").write_text(page(rows), encoding="utf-8")
        plot(sizes, figures, RESULTS / "growth.svg")


if __name__ == "__main__":
    main()
