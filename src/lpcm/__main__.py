"""``python -m lpcm`` and the ``lpcm`` command.

Where the ``cli`` extra is installed, this is the command line (``lpcm.cli``). Without the extra,
five of its commands work all the same, made of the standard library: get, set, incr, items and
count. They take and print what those of ``lpcm.cli`` do, with the same exit codes.
"""

from __future__ import annotations

import os
import sys
from argparse import SUPPRESS, ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any, NoReturn

from lpcm import LPCM, LPCMError, close
from lpcm.administration import check_exists
from lpcm.config import find, redact_words
from lpcm.errors import (
    CacheUnavailable,
    OutcomeUnknown,
    StoreError,
    StoreMissing,
    ValueDecodingError,
)
from lpcm.text import foreign, from_json, printable, to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_EXTRA = "all other commands and options need the extra: pip install 'lpcm[cli]'"


def main() -> None:
    """Run the command line; without the ``cli`` extra, the few commands of this module."""
    try:
        from lpcm.cli import main as run
    except ModuleNotFoundError as error:
        if error.name not in {"click", "rich"}:
            raise
        sys.exit(_run(sys.argv[1:]))
    run()


def _run(words: Sequence[str]) -> int:
    """Run one command; return its exit code."""
    given = _parser().parse_args(words)
    try:
        with foreign():
            _COMMANDS[given.command](given)
    except KeyError as error:
        return _failed(1, f"no such key: {error.args[0]!r}")
    except StoreMissing as error:
        return _failed(1, str(error))
    except OutcomeUnknown as error:
        return _failed(5, str(error))
    except (StoreError, CacheUnavailable) as error:
        return _failed(4, str(error))
    except (LPCMError, ValueError, TypeError) as error:
        return _failed(3, str(error))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of the output has seen enough. Python would complain once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        close()
    return 0


def _failed(code: int, message: str) -> int:
    sys.stderr.write(f"lpcm: {printable(' '.join(message.split()))}\n")
    return code


class _Parser(ArgumentParser):
    """A parser that names the extra where a command line is wrong."""

    def error(self, message: str) -> NoReturn:
        """End with exit code 2."""
        self.print_usage(sys.stderr)
        self.exit(2, f"lpcm: {printable(redact_words(message))} ({_EXTRA})\n")


def _parser() -> ArgumentParser:
    parser = _Parser("lpcm", description="Read and write the maps of a store.", epilog=_EXTRA)
    where = "where the maps live; default: LPCM_URL, else sqlite:///lpcm.sqlite3"
    parser.add_argument("--url", help=where)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (meaning, words) in _USAGE.items():
        command = commands.add_parser(name, help=meaning, description=meaning)
        command.add_argument("--url", default=SUPPRESS, help=where)
        for word in words:
            optional = {"nargs": "?", "default": "1"} if word == "delta" else {}
            command.add_argument(word, **optional)  # type: ignore[arg-type]  # argparse's own names
    return parser


_USAGE = {
    "get": ("print the value of KEY", ("map", "key")),
    "set": ("store VALUE under KEY", ("map", "key", "value")),
    "incr": ("add DELTA (1) to the number under KEY, and print the sum", ("map", "key", "delta")),
    "items": ("print the entries in key order: the key, a tab, the value", ("map",)),
    "count": ("count the entries", ("map",)),
}


def _read(given: Namespace) -> LPCM[Any, Any]:
    """Return the map, but make no file."""
    found = LPCM[Any, Any](given.map, url=given.url)
    check_exists(find(url=given.url), "nothing to read")
    return found


def _word(word: str) -> Any:
    """Return what a word stands for: JSON where it is JSON, else text."""
    try:
        return from_json(word)
    except ValueDecodingError:
        if word.lstrip()[:1] in {"{", "[", '"'}:  # meant to be JSON, and is not
            raise
        return word


def _say(*values: object) -> None:
    sys.stdout.write("\t".join(printable(to_json(value)) for value in values) + "\n")


def _get(given: Namespace) -> None:
    _say(_read(given).entry(_word(given.key)).value)


def _set(given: Namespace) -> None:
    if given.value == "-":
        raise ValueError(f"- reads no standard input here: {_EXTRA}")
    LPCM[Any, Any](given.map, url=given.url).set(_word(given.key), _word(given.value))


def _incr(given: Namespace) -> None:
    written = LPCM[Any, Any](given.map, url=given.url)
    _say(written.increment(_word(given.key), _word(given.delta)))


def _items(given: Namespace) -> None:
    for key, value in _read(given).items():
        _say(key, value)


def _count(given: Namespace) -> None:
    _say(len(_read(given)))


_COMMANDS = {"get": _get, "set": _set, "incr": _incr, "items": _items, "count": _count}

if __name__ == "__main__":
    main()
