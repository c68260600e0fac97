"""docs/howto/under-other-libraries.md: what it shows works as it says.

Those libraries' own suites run over the same modules by `make clients`.
"""

from __future__ import annotations

import asyncio
import doctest
import http.server
import importlib
import sys
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from key_value.aio.stores.memory import MemoryStore

import lpcm
from checks.clients import page
from lpcm.testing import insulate

SECTIONS = {section.module: section for section in page.sections()}

pytestmark = [
    # theirs, at import and at garbage collection
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
]


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Make the page's modules importable, on a store of this test alone."""
    page.write_modules(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    with insulate(f"sqlite:///{tmp_path}/maps.sqlite3"):
        yield
    lpcm.close()
    for name in SECTIONS:
        sys.modules.pop(name, None)


class Hello(http.server.BaseHTTPRequestHandler):
    """Says hello to whoever asks."""

    def do_GET(self):
        body = b"hello"
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        """Say nothing of it."""


@pytest.fixture
def url():
    """Yield where a server on this machine answers."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hello) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", SECTIONS)
def test_what_the_page_shows(name, modules, url):
    """Each section's module imports, and its examples give what they show."""
    importlib.import_module(name)
    section = SECTIONS[name]
    assert section.examples
    for example in section.examples:
        names = {"url": url, "__name__": name}
        test = doctest.DocTestParser().get_doctest(example, names, name, str(page.PAGE), 0)
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        doctest.DebugRunner(optionflags=flags).run(test)


@pytest.mark.parametrize("name", SECTIONS)
def test_each_fits_a_screen(name):
    """A module is at most 40 lines of code in one piece."""
    for block in SECTIONS[name].blocks:
        assert sum(bool(line.strip()) for line in block.splitlines()) <= 41  # one names the file


KEYS = st.sampled_from(["a", "b", "", "é/☃", "k" * 200])
COLLECTIONS = st.sampled_from([None, "one", "two/three"])
VALUES = st.dictionaries(
    st.text(max_size=3),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=5,
    ),
    max_size=3,
)
OPERATIONS = st.one_of(
    st.tuples(st.just("get"), KEYS),
    st.tuples(st.just("get_many"), st.lists(KEYS, max_size=4)),
    st.tuples(st.just("put"), KEYS, VALUES),
    st.tuples(st.just("put_many"), st.lists(KEYS, max_size=3, unique=True), VALUES),
    st.tuples(st.just("delete"), KEYS),
    st.tuples(st.just("delete_many"), st.lists(KEYS, max_size=4)),
    st.tuples(st.just("keys")),
)


async def result(store, collection, name, *arguments):
    """Return what an operation gives, in a form that can be compared."""
    match name:
        case "put_many":
            keys, value = arguments
            await store.put_many(keys, [value] * len(keys), collection=collection, ttl=60)
            return [round(ttl or 0) for _, ttl in await store.ttl_many(keys, collection=collection)]
        case "keys":
            return sorted(await store.keys(collection=collection))
        case _:
            return await getattr(store, name)(*arguments, collection=collection)


async def compared(operations):
    """Hold the page's store against py-key-value's own."""
    from key_value_lpcm import Store

    mine, theirs = Store("compared"), MemoryStore()
    for collection, operation in operations:
        expected = await result(theirs, collection, *operation)
        assert await result(mine, collection, *operation) == expected, operation
    for collection in ("default_collection", "one", "two/three"):
        held = bool(await mine.keys(collection))
        assert await mine.destroy_collection(collection) == held
        assert await mine.keys(collection) == []


@pytest.mark.usefixtures("modules")
def test_a_key_value_store_does_what_another_does():
    """Random operations on a map and on py-key-value's store in memory give the same."""

    @settings(max_examples=25)
    @given(st.lists(st.tuples(COLLECTIONS, OPERATIONS), max_size=15))
    def check(operations):
        asyncio.run(compared(operations))

    check()
