"""Every command that a message or a docstring names exists."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

import lpcm
from lpcm.cli import main
from lpcm.django.project import project

SOURCES = Path(lpcm.__file__).parent.rglob("*.py")
NAMED = sorted(
    {
        words
        for source in SOURCES
        for words in re.findall(r"(?<!`)`lpcm ([a-z][a-z |]*)`", source.read_text("utf-8"))
    }
)


def exists(group: click.Command, words: list[str]) -> bool:
    """Tell whether the words lead from command to command."""
    if not words:
        return True
    assert isinstance(group, click.Group)
    found = [group.get_command(click.Context(group), name) for name in words[0].split("|")]
    return all(each is not None and exists(each, words[1:]) for each in found)


@pytest.mark.parametrize("words", NAMED)
def test_a_named_command_exists(words: str):
    """A command in back-quotes is one of the command line, and of ``manage.py lpcm``."""
    assert exists(main, words.split())
    assert exists(project, words.split())


def test_some_are_named():
    """The commands that errors advise are among those that were found."""
    assert {"table create", "iam", "export", "identity renew"} <= set(NAMED)
