"""What the documentation tells a new user works, on a machine with nothing but Python."""

import os
import re

import pytest

from tests.first_hour import ROOT, SCRIPTS, alike, play

PAGE = ROOT / "docs/tutorial/transcripts.md"
MOST = 60.0
"""Seconds of processor time from nothing to a counter, its installation included."""

pytestmark = pytest.mark.posix


def transcripts():
    """Return what the page shows, by its headings."""
    text = PAGE.read_text(encoding="utf-8")
    return dict(re.findall(r"^## (.+?)\n.*?^```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))


def processor_time():
    """Return the seconds that the processes this one has waited for have used."""
    times = os.times()
    return times.children_user + times.children_system


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_each_command_is_in_the_documentation(script):
    """A script types what its page says, and nothing else."""
    page = script.page.read_text(encoding="utf-8")
    assert [command for command in script.typed() if command not in page] == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_the_script_does_what_the_documentation_shows(script, tmp_path):
    """It runs to its end, and what it says is what the documentation shows, but for times."""
    before = processor_time()
    said = play(script, tmp_path.resolve())
    assert alike(said) == alike(transcripts()[script.title])
    assert script.name != "counter" or processor_time() - before < MOST


def test_nothing_else_is_shown():
    """The page has one transcript of each script."""
    assert list(transcripts()) == [script.title for script in SCRIPTS]
