"""What commands share: how keys and values are written, and how failures and progress are shown."""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

import lpcm
from lpcm.administration import check_exists, open_engine
from lpcm.config import find
from lpcm.errors import LPCMError, ValueDecodingError
from lpcm.text import from_json, printable, to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from lpcm.cli import Session

__all__ = [
    "Worded",
    "complain",
    "in_namespace",
    "key_option",
    "map_names",
    "parse",
    "pass_session",
    "progress",
    "shown",
    "text_option",
]

F = TypeVar("F", bound="Callable[..., Any]")

_BEHIND = "\0"
"""Marks a word behind ``--`` while click parses; no word of a command line contains it."""


class _Literal(str):
    """A word behind ``--``: no option, whatever it looks like."""

    __slots__ = ()


class Worded(click.Command):
    """A command whose words may begin with ``-``: numbers, and any word behind ``--``."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.context_settings = {**self.context_settings, "ignore_unknown_options": True}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the words; those behind ``--`` become ``_Literal``, which ``parse`` knows."""
        at = args.index("--") if "--" in args else len(args)
        marked = [_BEHIND + word for word in args[at + 1 :]]
        left = super().parse_args(ctx, [*args[: at + 1], *marked])
        ctx.params = {name: _unmarked(value) for name, value in ctx.params.items()}
        return left


def _unmarked(value: Any) -> Any:
    match value:
        case tuple():
            return tuple(map(_unmarked, value))  # pyright: ignore[reportUnknownArgumentType,reportUnknownVariableType]  # click's
        case str() if value.startswith(_BEHIND):
            return _Literal(value.removeprefix(_BEHIND))
        case _:
            return value


def text_option(command: F) -> F:
    """Give a command ``--text``."""
    meaning = "Take keys and values as text, whatever they look like."
    return click.option("--text", "-t", is_flag=True, help=meaning)(command)


def key_option(name: str, meaning: str) -> Callable[[F], F]:
    """Return an option that takes a key."""
    return click.option(name, metavar="KEY", help=meaning)


def pass_session(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the session, as its first argument."""

    @wraps(command)
    def with_session(*arguments: Any, **options: Any) -> None:
        command(click.get_current_context().obj, *arguments, **options)

    return with_session


def parse(word: str, *, text: bool) -> Any:
    """Return what a word of the command line stands for.

    >>> parse("7", text=False), parse("seven", text=False), parse("7", text=True)
    (7, 'seven', '7')
    >>> parse('{"!tuple": ["eu", 7]}', text=False)
    ('eu', 7)
    >>> parse('{"!tupel": [1]}', text=False)
    Traceback (most recent call last):
        ...
    lpcm.errors.ValueDecodingError: unknown tag '!tupel' ...
    >>> parse("--tex", text=False)
    Traceback (most recent call last):
        ...
    click.exceptions.UsageError: No such option: --tex ...
    """
    if text:
        return str(word)
    try:
        return from_json(word)
    except ValueDecodingError:
        if word.lstrip()[:1] in {"{", "[", '"'}:  # meant to be JSON, and is not
            raise
        if word.startswith("-") and word != "-" and not isinstance(word, _Literal):
            # Commands take unknown options for words, so that -7 is one.
            raise click.UsageError(
                f"No such option: {printable(word)} (a text that begins with - stands behind --)"
            ) from None
        return str(word)


def shown(value: object) -> str:
    """Return a key or value as JSON that a terminal can be trusted with."""
    return printable(to_json(value))


def complain(session: Session | None, kind: str, message: str) -> None:
    """Write one line about a failure to the standard error: text, or JSON for programs."""
    text = printable(" ".join(message.split()))
    as_json = session is not None and session.json
    click.echo(
        json.dumps({"error": kind, "message": text}) if as_json else f"lpcm: {text}", err=True
    )


@contextmanager
def in_namespace(name: str | None) -> Generator[None, None, None]:
    """Use another namespace in the block; None: no other."""
    if name is None:
        yield
        return
    before = os.environ.get("LPCM_NAMESPACE")
    os.environ["LPCM_NAMESPACE"] = name
    try:
        yield
    finally:
        del os.environ["LPCM_NAMESPACE"]
        if before is not None:
            os.environ["LPCM_NAMESPACE"] = before


def map_names(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Return the maps that a shell offers: those of a SQLite file; other stores are not asked."""
    shared = ctx.find_root().params
    using = shared.get("using", "default")
    try:
        settings = find(using, url=shared["url"])
        if settings.scheme != "sqlite":
            return []
        check_exists(settings, "nothing to complete")
        with in_namespace(shared["namespace"]):
            names = lpcm.maps(using=open_engine(using, url=shared["url"]))
    except LPCMError:
        return []
    finally:
        lpcm.close()
    return [name for name in names if name.startswith(incomplete) and name.isprintable()]


@contextmanager
def progress(what: str, total: int | None = None) -> Generator[Callable[[int], None], None, None]:
    """Show on the standard error how long work goes on, where someone looks on.

    Yields what to call with the number of pieces done since the last call.
    """
    stream = sys.stderr
    if not stream.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    # The name of a map may look like rich's markup.
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns,
        TextColumn("{task.fields[rate]}", markup=False),
        TimeElapsedColumn(),
        console=Console(file=stream),
        transient=True,
    ) as bar:
        task = bar.add_task(what, total=total, rate="")

        def advance(pieces: int) -> None:
            bar.update(task, advance=pieces)
            speed = bar.tasks[0].speed
            bar.update(task, rate=f"{speed:,.0f}/s" if speed else "")

        yield advance
