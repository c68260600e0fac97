"""The documents hold together: whatever they link to is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "benchmarks").rglob("*.md")),
]
LINK = re.compile(r"\]\((?P<target>[^)\s]+)\)")
MENTION = re.compile(
    r"(?<![\w/.])(?:docs|tests|benchmarks|examples|scripts)/[\w/.-]*\.(?:md|py|svg)\b"
)


def text(page):
    """Return a page without its code, in which brackets mean other things."""
    return re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def anchors(page):
    """Return what GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(page, found):
    """Return those of the targets that lead nowhere, as seen from that page."""
    wrong = []
    for target in found:
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path) if path else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            wrong.append(target)
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page):
    """Each link to a file of the project, and to a heading in it, leads there."""
    assert broken(page, LINK.findall(text(page))) == []


@pytest.mark.parametrize(
    "page",
    [*PAGES, *sorted((ROOT / "src").rglob("*.py"))],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_files_that_are_mentioned(page):
    """Each file of the project that a page or a module names is there."""
    named = set(MENTION.findall(page.read_text(encoding="utf-8")))
    assert {name for name in named if not (ROOT / name).exists()} == set()


def test_the_promise_is_one():
    """README says it in one sentence, and leads to the page that has all of it, once."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (sentence,) = re.findall(r"^\*\*Once a write .*?\*\*", readme, re.MULTILINE | re.DOTALL)
    assert "any machine" in sentence
    assert "(docs/explanation/coherence.md)" in readme
    promised = [page for page in PAGES if "are **linearizable**" in page.read_text("utf-8")]
    assert promised == [ROOT / "docs/explanation/coherence.md"]


def test_a_broken_link_is_found():
    """The checks above tell what is there from what is not."""
    page = ROOT / "README.md"
    good = [
        "docs/reference/keys.md",
        "docs/reference/values.md#in-the-store",
        "https://example.org",
    ]
    assert broken(page, [*good, "docs/nowhere.md", "#nowhere", "docs/reference/keys.md#x"]) == [
        "docs/nowhere.md",
        "#nowhere",
        "docs/reference/keys.md#x",
    ]
    assert MENTION.findall("see `docs/nowhere.md` and tests/x.py") == [
        "docs/nowhere.md",
        "tests/x.py",
    ]
