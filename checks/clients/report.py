"""The tables of README.md: counts for each project and store, and what is excluded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from checks.clients.projects import PROJECTS
from checks.clients.run import exclusions
from checks.clients.stores import STORES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from checks.clients.run import Result

__all__ = ["README", "cell", "cells_of", "excluded", "record", "recorded", "table"]

README = Path(__file__).with_name("README.md")


def cell(result: Result) -> str:
    """Return a suite's counts on one store, in words as short as a table's."""
    counts = result.counts
    wanted = counts.total() - counts["skipped"]
    text = f"{counts['passed']} of {wanted}"
    if result.wrong:
        text += f", {len(result.wrong)} WRONG"
    if counts["skipped"]:
        text += f"; {counts['skipped']} skipped"
    return text


def table(cells: Mapping[tuple[str, str], str]) -> str:
    """Return the counts, by project and store, as a table in Markdown."""
    lines = [f"| | {' | '.join(STORES)} | which tests |", "|---|" + "---:|" * len(STORES) + "---|"]
    for project in PROJECTS:
        counts = [cells.get((project.name, store), "") for store in STORES]
        if any(counts):
            lines.append(f"| {project.sdist} | {' | '.join(counts)} | {project.chosen} |")
    return "\n".join(lines)


def cells_of(results: Iterable[Result]) -> dict[tuple[str, str], str]:
    """Return the counts of each suite by project and store."""
    return {(result.project, result.store): cell(result) for result in results}


def recorded() -> dict[tuple[str, str], str]:
    """Return the counts that README.md has of these projects in these versions."""
    names = {project.sdist: project.name for project in PROJECTS}
    found: dict[tuple[str, str], str] = {}
    for line in README.read_text(encoding="utf-8").splitlines():
        sdist, *counts = (part.strip() for part in line.strip("|").split("|"))
        if sdist in names:
            pairs = zip(STORES, counts, strict=False)
            found |= {(names[sdist], store): count for store, count in pairs}
    return found


def excluded() -> str:
    """Return the table of exclusions in Markdown."""
    lines = ["| | on | tests | why |", "|---|---|---|---|"]
    for each in exclusions():
        names = "<br>".join(f"`{name}`" for name in each.tests)
        lines.append(
            f"| {each.project} | {', '.join(each.stores) or 'all'} | {names} | {each.reason} |"
        )
    return "\n".join(lines)


def record(cells: Mapping[tuple[str, str], str]) -> None:
    """Write both tables into README.md; counts of what did not run now stay."""
    text = README.read_text(encoding="utf-8")
    counts = table({**recorded(), **cells})
    for mark, content in {"counts": counts, "exclusions": excluded()}.items():
        begin, end = f"<!-- {mark} -->\n", f"<!-- end of {mark} -->"
        before, _, rest = text.partition(begin)
        _, _, after = rest.partition(end)
        text = f"{before}{begin}{content}\n{end}{after}"
    README.write_text(text, encoding="utf-8")
