"""Several processes count every identifier of the standard library together, in one map.

Each process goes through its files and says ``counts.increment(word)`` at every identifier.
Then a new process opens the map, counts again by itself with a ``collections.Counter``, and
compares each of the counts. They must be equal, or this program ends with 1.

    make demo                                   # the standard library, into a file of its own
    make demo ARGS="src tests"                  # these directories
    LPCM_URL=sqlite:///words.sqlite3 make demo  # into another store

The map lives in a namespace made for this run, and is removed at its end.
"""

from __future__ import annotations

import argparse
import keyword
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import tokenize
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING

from lpcm import LPCM, LPCMError
from lpcm.testing import insulate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PROCESSES = 4
counts: LPCM[str, int] = LPCM("identifiers")


def identifiers(path: Path) -> Iterator[str]:
    """Yield the names in a source file as they come, without keywords; none if it is not Python."""
    try:
        with path.open("rb") as file:
            tokens = list(tokenize.tokenize(file.readline))
    except (SyntaxError, UnicodeDecodeError, tokenize.TokenError):
        return
    for token in tokens:
        if token.type == tokenize.NAME and not keyword.iskeyword(token.string):
            yield token.string


def count(path: Path) -> int:
    """Count a file's identifiers in the map; return how many there were."""
    number = 0
    for word in identifiers(path):
        counts.increment(word)
        number += 1
    return number


def count_together(files: Sequence[Path], progress: Progress) -> int:
    """Let the processes share the files out; return how many identifiers they met."""
    total = 0
    # Started anew, not forked: as it would be on several machines.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, mp_context=context, initializer=ignore_interrupt) as pool:
        try:
            tasks = {pool.submit(count, path): path for path in files}
            for task in as_completed(tasks):
                total += task.result()
                progress.finished(tasks[task], total)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return total


def ignore_interrupt() -> None:
    """Leave Ctrl-C to the process that the others work for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def compare(files: Sequence[Path]) -> int:
    """Count the same in this process alone, and compare with what stands in the map."""
    wanted = Counter(word for path in files for word in identifiers(path))
    found = counts.copy()
    read = counts.get_many(wanted)  # one by one, as a cache in front may have them
    wrong = [
        word
        for word in wanted.keys() | found.keys()
        if not found.get(word) == read.get(word) == wanted.get(word)
    ]
    for word in sorted(wrong)[:10]:
        print(
            f"  {word}: {found.get(word)} in the map, {read.get(word)} read by itself, "
            f"should be {wanted.get(word)}"
        )
    if wrong:
        print(f"WRONG: {len(wrong):,} of {len(wanted):,} counts differ")
        return 1
    print(
        f"exact: each of {len(found):,} counts, {sum(found.values()):,} together, is what "
        "collections.Counter says\n"
    )
    most = Counter(found).most_common(10)
    width = len(f"{most[0][1]:,}") if most else 0
    for word, number in most:
        print(f"  {number:{width},}  {word}")
    return 0


def sources(directories: Sequence[Path]) -> list[Path]:
    """Return the Python files in them: the largest first, so that the last ones are short."""
    found = {path for directory in directories for path in directory.rglob("*.py")}
    return sorted(found, key=lambda path: (-path.stat().st_size, path))


def standard_library() -> list[Path]:
    """Return its modules, without what is installed beside them and without its tests."""
    root = Path(sysconfig.get_path("stdlib"))
    beside = {"site-packages", "dist-packages", "test", "tests", "idle_test"}
    return [path for path in sources([root]) if beside.isdisjoint(path.relative_to(root).parts)]


class Progress:
    """A line that says how far it is: drawn anew where someone looks on, else left out."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._sizes = {path: path.stat().st_size for path in files}
        self._all = sum(self._sizes.values())
        self._read = self._files = 0
        self._start = time.perf_counter()
        self._drawn = 0.0
        self._watched = sys.stdout.isatty()

    @property
    def seconds(self) -> float:
        """Return how long it has taken."""
        return time.perf_counter() - self._start

    def finished(self, path: Path, words: int) -> None:
        """Note that this file is done, and so many words by now."""
        self._files += 1
        self._read += self._sizes[path]
        over = self._files == len(self._sizes)
        if self._watched and (over or self.seconds - self._drawn > 0.1):
            self._drawn = self.seconds
            self._draw(words, end="\n" if over else "")

    def _draw(self, words: int, end: str) -> None:
        share = self._read / self._all if self._all else 1.0
        text = (
            f" {share:4.0%}  {self._files:,} of {len(self._sizes):,} files  {words:,} words  "
            f"{words / self.seconds:,.0f}/s"
        )
        room = max(0, min(30, shutil.get_terminal_size().columns - len(text) - 1))
        filled = int(room * share)
        print(f"\r\x1b[K{'█' * filled}{'░' * (room - filled)}{text}", end=end, flush=True)


def main() -> int:
    """Count, then have it compared."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__.partition("\n")[0])
    parser.add_argument("directories", nargs="*", type=Path, metavar="DIRECTORY")
    parser.add_argument("--compare", action="store_true", help="what the last process does")
    arguments = parser.parse_args()
    missing = [str(path) for path in arguments.directories if not path.is_dir()]
    if missing:
        parser.error(f"no such directory: {', '.join(missing)}")
    files = sources(arguments.directories) if arguments.directories else standard_library()
    if not files:
        parser.error("there is no Python file in there")
    if arguments.compare:
        return compare(files)
    with tempfile.TemporaryDirectory() as folder:
        # Every increment is in the file before it returns; the disk need not say so each time.
        own = f"sqlite:///{folder}/words.sqlite3?synchronous=normal"
        url = os.environ.get("LPCM_URL") or own
        if url.startswith("memory:"):
            parser.error("LPCM_URL is a map in the memory of one process, and this needs several")
        try:
            with insulate(url):
                return run(files, url)
        except LPCMError as error:
            print(f"\n{type(error).__name__}: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130


def run(files: Sequence[Path], url: str) -> int:
    """Count the files in the store of that URL, which the processes inherit."""
    print(f"{PROCESSES} processes count the identifiers of {len(files):,} files in {shown(url)}")
    assert not counts, "the namespace is of this run alone"
    progress = Progress(files)
    total = count_together(files, progress)
    seconds = progress.seconds
    print(f"{total:,} increments in {seconds:.1f} s: {total / seconds:,.0f} a second")
    print("a new process opens the map and counts again, alone ...", flush=True)
    return subprocess.run([sys.executable, *sys.argv, "--compare"], check=False).returncode


def shown(url: str) -> str:
    """Return the store's URL without options."""
    return url.partition("?")[0]


if __name__ == "__main__":
    sys.exit(main())
