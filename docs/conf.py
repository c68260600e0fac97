"""The documentation as a site: ``make docs`` builds it into ``site/``.

The pages are those of the checkout, and link to each other by file as they do there: Sphinx reads
the whole repository, but only ``include_patterns``. Nothing of the site comes from other hosts.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))

import django
from django.conf import settings

import lpcm

if TYPE_CHECKING:
    from sphinx.application import Sphinx

# The API pages import lpcm.django.
settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "lpcm"], LPCM={}
)
django.setup()

project = "lpcm"
author = copyright = "the lpcm authors"
version = release = lpcm.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton"]
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**.md", "benchmarks/**.md"]

myst_enable_extensions = ["deflist", "colon_fence"]
myst_heading_anchors = 4
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"lpcm {release}"
html_static_path = ["_site"]
html_css_files = ["site.css"]
html_additional_pages = {"index": "home.html"}
templates_path = ["_site"]
html_show_sourcelink = False
html_copy_source = False


def trim(app: Sphinx, name: str, source: list[str]) -> None:
    """Leave out the blank line that ends a doctest; list the pages that the index does not."""
    text = re.sub(r"\n\n```$", "\n```", source[0], flags=re.MULTILINE)
    if name == "docs/index":
        for folder in ("howto", "reference", "explanation"):
            pages = {f"{folder}/{page.stem}" for page in (ROOT / "docs" / folder).glob("*.md")}
            more = sorted(pages - set(text.split()))
            text = text.replace(f"\n{folder}/*\n", "".join(f"\n{page}" for page in more) + "\n")
    source[0] = text


def link(
    app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]
) -> None:
    """Make links of the pages that a docstring names."""
    lines[:] = [re.sub(r"\bdocs/([\w/-]+)\.md", r":doc:`/docs/\1`", line) for line in lines]


def setup(app: Sphinx) -> None:
    """Let the pages be as they are in the checkout."""
    app.connect("source-read", trim)
    app.connect("autodoc-process-docstring", link)
