"""What was measured, as text, as Markdown and as a plot.

Knows results, never how they came about. The plot has no background and greys that are read
on a light page as on a dark one.
"""

from __future__ import annotations

import platform
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from harness import Limit, Target

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness import Candidate, Results, Suite

GREY = "#7a828b"
OURS = "#2f81f7"
OTHERS = "#a9b1ba"


def table(results: Results, candidates: Sequence[Candidate]) -> list[list[str]]:
    """Return the rows of times; in brackets how many times the first candidate's it is."""
    names = [candidate.name for candidate in candidates]
    rows = [["", *names]]
    for action, times in results.items():
        ours = times[names[0]].wall
        cells = [
            f"{duration(times[name].wall)} ({times[name].wall / ours:.2f})" if name in times else ""
            for name in names
        ]
        rows.append([action, *cells])
    return rows


def duration(seconds: float) -> str:
    """Return it to three digits.

    >>> duration(0.0000123), duration(0.00123), duration(12.3)
    ('12.3 µs', '1.23 ms', '12.3 s')
    """
    for factor, unit in ((1e6, "µs"), (1e3, "ms")):
        if seconds * factor < 1000:
            return f"{seconds * factor:#.3g} {unit}".replace(". ", " ")
    return f"{seconds:#.3g} s".replace(". ", " ")


def verdicts(results: Results, targets: Sequence[Target | Limit]) -> Iterator[tuple[bool, str]]:
    """Judge each target; one that was not measured is missed."""
    for target in targets:
        times = results.get(target.action, {})
        if isinstance(target, Limit):
            wanted = f"{target.action}: {target.candidate} in at most {duration(target.seconds)}"
            if target.candidate not in times:
                yield False, f"{wanted}: not measured"
                continue
            seconds = times[target.candidate].wall
            yield seconds <= target.seconds, f"{wanted}: {duration(seconds)}"
            continue
        what = " of processor time" if target.cpu else ""
        wanted = (
            f"{target.action}: {target.candidate} at most {target.at_most:.3g} times "
            f"{target.against}{what}"
        )
        if not {target.candidate, target.against} <= set(times):
            yield False, f"{wanted}: not measured"
            continue
        ours, theirs = times[target.candidate], times[target.against]
        ratio = ours.cpu / theirs.cpu if target.cpu else ours.wall / theirs.wall
        faster = f" ({1 / ratio:.2f} times as fast)" if ratio < 1 else ""
        yield ratio <= target.at_most, f"{wanted}: {ratio:.2f}{faster}"


def plain(rows: Sequence[Sequence[str]]) -> str:
    """Return rows in aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if not number else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def markdown(
    suite: Suite, results: Results, candidates: Sequence[Candidate], command: str, rounds: int
) -> str:
    """Return the page of a suite."""
    head, *rows = table(results, candidates)
    lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * len(candidates)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    judged = [
        f"- {'met' if met else '**missed**'}: {text}"
        for met, text in verdicts(results, suite.TARGETS)
    ]
    where = (
        f"{platform.python_implementation()} {platform.python_version()}, "
        f"SQLite {sqlite3.sqlite_version}, {platform.system()} {platform.machine()}, {cpu()}"
    )
    how = (
        f"Medians of {rounds} interleaved rounds, in one process pinned to one core, time per "
        f"operation; in brackets how many times {candidates[0].name}'s it is. Taken on "
        f"{datetime.now(UTC):%Y-%m-%d} with {where}, by `{command}`. Quote the ratios: the times "
        "are this machine's."
    )
    return "\n".join([
        f"# {suite.TITLE}",
        "",
        suite.ABOUT.strip(),
        "",
        how,
        "",
        *lines,
        "",
        "Targets:",
        "",
        *judged,
        "",
    ])  # fmt: skip


def cpu() -> str:
    """Return the processor's name."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def plot(suite: Suite, results: Results, candidates: Sequence[Candidate], path: Path) -> None:
    """Draw a small chart for each action, everyone's time as a bar from zero."""
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    mpl.rcParams.update({
        "svg.hashsalt": "lpcm",  # equal figures, equal file
        "font.size": 9,
        "text.color": GREY,
        "xtick.color": GREY,
        "ytick.color": GREY,
        "axes.edgecolor": GREY,
    })  # fmt: skip
    actions = [action for action in suite.PLOT if action in results]
    columns = min(3, len(actions))
    lines = -(-len(actions) // columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(3.4 * columns, 0.8 + 1.75 * lines), squeeze=False
    )
    for spare in axes.flat[len(actions) :]:
        spare.remove()
    for axis, action in zip(axes.flat, actions, strict=False):
        times = results[action]
        names = [candidate.name for candidate in candidates if candidate.name in times][::-1]
        values = [times[name].wall for name in names]
        colours = [OURS if name == candidates[0].name else OTHERS for name in names]
        bars = axis.barh(names, values, color=colours, height=0.7)
        axis.bar_label(bars, [duration(value) for value in values], padding=3, fontsize=8)
        axis.set_title(action, fontsize=10, loc="left", color=GREY)
        axis.set_xlim(0, max(values) * 1.32)
        axis.set_xticks([])
        axis.tick_params(length=0)
        axis.spines[["top", "right", "bottom"]].set_visible(False)
    figure.suptitle(f"{suite.TITLE}: time per operation, shorter is better", fontsize=11)
    figure.tight_layout()
    figure.savefig(path, transparent=True, metadata={"Date": None})
    plt.close(figure)
