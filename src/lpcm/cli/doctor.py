"""``lpcm doctor``: whether the store and the cache are as maps need them, and what to do."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, Final

import click

from lpcm.cli.words import pass_session
from lpcm.doctor import examine
from lpcm.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lpcm.cli import Session
    from lpcm.ports import Finding

__all__ = ["doctor", "show_findings"]

_COLOURS: Final = {"ok": "green", "note": "yellow", "wrong": "red"}
_NAME: Final = 14
_INDENT: Final = " " * (len("wrong  ") + _NAME)


@click.command()
@click.option("--look-only", is_flag=True, help="Write nothing.")
@pass_session
def doctor(session: Session, *, look_only: bool) -> None:
    """Look at the store and the cache of the URL; exit with 1 where something is wrong.

    Whether they are reached, by whose credentials and how quickly; how the table, the memcached
    servers or the file are set up; and whether what one engine writes another one reads. That is
    tried with an entry in a namespace of its own, which is deleted at the end.
    """
    show = _show_json if session.json else _show
    findings = examine(session.using, url=session.url, write=not look_only, report=show)
    _end(session, findings)


def show_findings(session: Session, findings: Sequence[Finding]) -> None:
    """Show findings; exit with 1 where something is wrong."""
    for finding in findings:
        (_show_json if session.json else _show)(finding)
    _end(session, findings)


def _end(session: Session, findings: Sequence[Finding]) -> None:
    wrong = sum(finding.wrong for finding in findings)
    if not session.json:
        click.echo(f"\n{wrong} wrong" if wrong else "\nNothing is wrong.")
    if wrong:
        sys.exit(1)


def _show_json(finding: Finding) -> None:
    about, found, fix, _ = finding
    click.echo(json.dumps({"state": finding.state, "about": about, "found": found, "fix": fix}))


def _show(finding: Finding) -> None:
    state = click.style(f"{finding.state:7}", fg=_COLOURS[finding.state])
    found = _wrapped(finding.found)
    click.echo(f"{state}{printable(finding.about):{_NAME}}{found.lstrip()}")
    if finding.fix:
        click.echo(_wrapped(f"-> {finding.fix}"))


def _wrapped(text: str) -> str:
    """Return the text for the right column of a terminal; one line where nobody looks on."""
    text = printable(text)
    if not sys.stdout.isatty():
        return _INDENT + text
    width = max(shutil.get_terminal_size().columns, 2 * len(_INDENT))
    return textwrap.fill(
        text,
        width,
        initial_indent=_INDENT,
        subsequent_indent=_INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )
