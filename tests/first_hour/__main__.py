"""``python -m tests.first_hour``: write docs/tutorial/transcripts.md from a run of each script."""

import os
import tempfile
from pathlib import Path

from tests.first_hour import ROOT, SCRIPTS, play

PAGE = ROOT / "docs/tutorial/transcripts.md"
HEAD = """\
# What it looks like

Each page of the tutorial, followed to the letter on a machine with nothing but Python: what was
typed, and what came. Everything ran in a new directory beside the checkout. This page is made by
`make first-hour`; the test suite follows the pages again and compares all but the times.
`# FILE: as the page shows it` stands for the file.
"""


def main() -> None:
    """Write the page."""
    parts = [HEAD]
    for script in SCRIPTS:
        with tempfile.TemporaryDirectory() as directory:
            transcript = play(script, Path(directory).resolve())
        link = os.path.relpath(script.page, PAGE.parent)
        parts.append(f"## {script.title}\n\n[The page]({link})\n\n```text\n{transcript}```\n")
        print(f"{script.name}: done", flush=True)
    PAGE.write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
