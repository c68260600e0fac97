"""What commands share: how keys and values are written, and progress is shown."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lpcm.errors import ValueDecodingError
from lpcm.text import from_json, printable, to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = ["key_option", "parse", "pass_session", "progress", "shown", "text_option"]

F = TypeVar("F", bound="Callable[..., Any]")


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
        return word
    try:
        return from_json(word)
    except ValueDecodingError:
        if word.lstrip()[:1] in {"{", "[", '"'}:  # meant to be JSON, and is not
            raise
        if word.startswith("-") and word != "-":
            # Commands take unknown options for words, so that -7 is one.
            raise click.UsageError(
                f"No such option: {printable(word)} (as text it is --text -- or '\"...\"')"
            ) from None
        return word


def shown(value: object) -> str:
    """Return a key or value as JSON that a terminal can be trusted with."""
    return printable(to_json(value))


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
