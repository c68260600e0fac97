"""The documentation is whole: every public name, exception and option has its place."""

import importlib
import re
from pathlib import Path

import pytest

import lpcm.errors
from lpcm import caches, stores
from lpcm.engine import config

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
API = "\n".join(
    page.read_text(encoding="utf-8") for page in sorted((DOCS / "reference/api").glob("*.md"))
)
MODULES = [
    *("lpcm.errors", "lpcm.events", "lpcm.testing", "lpcm.testing.cases", "lpcm.testing.limits"),
    *("lpcm.verify", "lpcm.administration", "lpcm.config", "lpcm.doctor", "lpcm.dynamodb"),
    *("lpcm.text", "lpcm.ports"),
]
DJANGO = ["cache", "debug", "panels", "sessions", "signals", "stores", "test"]


def options(page, heading):
    """Return the options that the tables below a heading of a page name."""
    text = (DOCS / page).read_text(encoding="utf-8")
    part = re.split(rf"^## {re.escape(heading)}$", text, flags=re.MULTILINE)[1]
    rows = re.findall(
        r"^\| (`.*?`) \|", re.split(r"^## ", part, flags=re.MULTILINE)[0], re.MULTILINE
    )
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


@pytest.mark.parametrize("name", lpcm.__all__)
def test_public_names_of_lpcm(name):
    """The reference shows each public name of lpcm, or its errors page does."""
    shown = re.findall(r"auto(?:class|function):: (\w+)$", API, re.MULTILINE)
    assert name in [*shown, *lpcm.errors.__all__]


@pytest.mark.parametrize("name", [*MODULES, *(f"lpcm.django.{each}" for each in DJANGO)])
def test_public_modules(name):
    """The reference shows all that each public module lists."""
    assert re.search(rf"automodule:: {re.escape(name)}\n   :members:$", API, re.MULTILINE)
    if not name.startswith(
        "lpcm.django"
    ):  # whose imports ask for settings: the site's build has them
        module = importlib.import_module(name)
        assert all(getattr(module, each).__doc__ for each in module.__all__)


def test_every_exception_is_explained():
    """The errors page says of each what it means, whether anything was written, and what to do."""
    text = (DOCS / "reference/errors.md").read_text(encoding="utf-8")
    parts = dict(re.findall(r"^### (\w+)\n(.*?)(?=^### |\Z)", text, re.MULTILINE | re.DOTALL))
    assert set(parts) == set(lpcm.errors.__all__)
    for name, part in parts.items():
        assert name in {"LPCMError", "StoreError"} or "**Do**:" in part, name
        assert name == "LPCMError" or "**Written**:" in part, name


@pytest.mark.parametrize("scheme", sorted(stores.SCHEMES))
def test_options_of_stores(scheme):
    """The page on URLs has a row for each option of each store, and for no other."""
    heading = "Caches" if scheme.startswith("memcached") else scheme
    known = set(stores.adapter(scheme).OPTIONS)
    if heading == "Caches":
        known |= set(caches.adapter("memory").OPTIONS)
    assert options("reference/urls.md", heading) == known


@pytest.mark.parametrize("scheme", sorted(caches.SCHEMES))
def test_options_of_caches(scheme):
    """So it has for those of caches."""
    assert set(caches.adapter(scheme).OPTIONS) <= options("reference/urls.md", "Caches")


def test_options_of_every_store():
    """So it has for those that every store takes."""
    assert options("reference/urls.md", "Options of every store") == set(config._COMMON)


def test_no_doctest_stands_outside_of_a_block():
    """A page shows code as code: what stands bare becomes three quotations in each other."""
    for page in [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]:
        text = re.sub(
            r"^ *(```+).*?^ *\1$",
            "",
            page.read_text(encoding="utf-8"),
            flags=re.MULTILINE | re.DOTALL,
        )
        assert not re.search(r"^>>> ", text, re.MULTILINE), page
