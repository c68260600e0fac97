"""``python -m lpcm`` and the ``lpcm`` command: the command line, where its extra is installed."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line; without the ``cli`` extra, say what to install."""
    try:
        from lpcm.cli import main as run
    except ModuleNotFoundError as error:
        if error.name not in {"click", "rich"}:
            raise
        sys.exit(f"lpcm: the command line needs {error.name}: pip install 'lpcm[cli]'")
    run()


if __name__ == "__main__":
    main()
