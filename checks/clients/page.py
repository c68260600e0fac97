"""What docs/howto/under-other-libraries.md shows: each section's module and its use.

The page is the only place where these modules are written. Tests and the runner take them from
here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PAGE", "Section", "sections", "write_modules"]

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "under-other-libraries.md"
_SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"# (\w+)\.py")


@dataclass(frozen=True, slots=True)
class Section:
    """One library's part of the page."""

    heading: str
    blocks: tuple[str, ...]
    """The code, as shown; together the module."""
    examples: tuple[str, ...]
    """The doctests that use it."""

    @property
    def module(self) -> str:
        """The module's name, which the code's first line says."""
        found = _FILE.match(self.blocks[0])
        assert found, f"{self.heading}: the code does not begin with its file's name"
        return found[1]

    @property
    def code(self) -> str:
        """The module's text."""
        return "\n\n".join(self.blocks)


def sections() -> list[Section]:
    """Return the sections that show code, in the page's order."""
    _, *parts = _SECTION.split(PAGE.read_text(encoding="utf-8"))
    found: list[Section] = []
    for heading, text in zip(parts[::2], parts[1::2], strict=True):
        blocks: list[str] = _BLOCK.findall(text)
        code = tuple(block for block in blocks if not block.startswith(">>>"))
        examples = tuple(block for block in blocks if block.startswith(">>>"))
        found.append(Section(heading, code, examples))
    return found


def write_modules(directory: Path) -> None:
    """Write each section's module into the directory."""
    for section in sections():
        (directory / f"{section.module}.py").write_text(section.code, encoding="utf-8")
