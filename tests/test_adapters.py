"""Stores and caches of other distributions: found by their scheme, checked, and out of the way."""

import json
import subprocess
import sys
from textwrap import dedent

import pytest

import lpcm
from lpcm import LPCM, ConfigError, caches, stores
from lpcm.engine import config
from lpcm.ports.adapters import RESERVED
from lpcm.stores.local.memory import MemoryStore

MODULE = """
    from lpcm.ports import Form
    from lpcm.stores.local import memory

    OPTIONS = {"size": int}

    def open_store(path, *, size=7):
        store = memory.open_store(path)
        store.size = size
        return store
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return what installs a distribution: its entry points by group, and its modules."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(stores.SCHEMES, "_loaded", {})
    monkeypatch.setattr(caches.SCHEMES, "_loaded", {})

    def made(name, entries, **modules):
        info = tmp_path / f"{name}-1.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n")
        (info / "entry_points.txt").write_text(dedent(entries))
        for module, text in modules.items():
            monkeypatch.delitem(sys.modules, module, raising=False)
            (tmp_path / f"{module}.py").write_text(dedent(text))

    yield made
    lpcm.close()


def test_a_store_of_another_distribution(install):
    """A registered scheme is a store as any other: its options are parsed, and checked."""
    install("shelves", "[lpcm.stores]\nshelf = shelves_a\n", shelves_a=MODULE)
    m = LPCM("m", url="shelf://x?size=9&ttl=60")
    m["k"] = 1
    assert (m["k"], m.ttl("k") > 59) == (1, True)
    store = m._use()._store
    assert (type(store), store.size) == (MemoryStore, 9)
    with pytest.raises(ConfigError, match="size='big' of shelf"):
        config.parse("shelf://x?size=big")
    with pytest.raises(ConfigError, match=r"unknown option 'sice' for shelf: use one of .*size"):
        config.parse("shelf://x?sice=9")
    assert config.parse("SHELF://x").scheme == "shelf"


def test_an_object_is_an_adapter_too(install):
    """The value of an entry point may be an object in a module; a cache is found likewise."""
    text = """
        from types import SimpleNamespace
        from lpcm.caches import memory

        caches = SimpleNamespace(OPTIONS={}, open_cache=memory.open_cache)
    """
    install("shelves", "[lpcm.caches]\nshelf = shelves_b:caches\n", shelves_b=text)
    m = LPCM("m", url="memory://?cache=shelf://x")
    m["k"] = 1
    assert m["k"] == 1
    assert m._use()._coherent is not None
    with pytest.raises(ConfigError, match="unknown scheme 'shelf'"):
        config.parse("shelf://x")


def test_an_unknown_scheme_lists_those_of_others(install):
    """What an unknown scheme's error lists has the registered ones among lpcm's own."""
    install("shelves", "[lpcm.stores]\nshelf = shelves_c\n[lpcm.caches]\nrack = shelves_c\n")
    with pytest.raises(ConfigError, match=r"use one of dynamodb, .*memory, shelf, sqlite"):
        config.parse("shelv://x")
    with pytest.raises(ConfigError, match=r"use one of memcached, .*memory, rack$"):
        config.parse("memory://?cache=shelf://x")


def test_a_scheme_of_ours_is_never_taken_over(install):
    """What is registered under a scheme of lpcm's own is not even imported."""
    entries = "[lpcm.stores]\nmemory = shelves_d\n[lpcm.caches]\nmemory = shelves_d\n"
    install("shelves", entries, shelves_d="raise RuntimeError('imported')")
    m = LPCM("m", url="memory://x?cache=memory://")
    m["k"] = 1
    assert type(m._use()._store) is MemoryStore
    assert "shelves_d" not in sys.modules


@pytest.mark.parametrize(
    ("module", "wrong"),
    [
        ("raise OSError('no disk')", "cannot be loaded: OSError\\('no disk'\\)"),
        ("import nowhere_at_all", "cannot be loaded: ModuleNotFoundError"),
        ("OPTIONS = {}", "it has no function open_store"),
        ("OPTIONS = {}\nopen_store = 1", "it has no function open_store"),
        ("open_store = print", "it has no OPTIONS"),
        ("open_store = print\nOPTIONS = ['a']", "it has no OPTIONS"),
        ("open_store = print\nOPTIONS = {'a': 1}", "its OPTIONS have 'a': 1"),
        ("open_store = print\nOPTIONS = {1: int}", "its OPTIONS have 1:"),
        ("open_store = print\nOPTIONS = {'ttl': int}", "'ttl' is one of every URL's"),
        ("open_store = print\nOPTIONS = {'a': int}\nFILES = 'a'", "its FILES are no set"),
        ("open_store = print\nOPTIONS = {}\nOBJECTS = {'a'}", "its OBJECTS have 'a'"),
        ("open_store = print\nOPTIONS = {}\nopen_async_store = 1", "open_async_store is no func"),
    ],
)
def test_what_is_no_adapter(install, module, wrong):
    """What is wrong with an adapter is said when its scheme is used, with its distribution."""
    install("shelves", "[lpcm.stores]\nshelf = shelves_e\n", shelves_e=module)
    name = "the store shelf:// of shelves 1.5 \\(shelves_e\\)"
    for _ in range(2):
        with pytest.raises(ConfigError, match=f"^{name} (is no adapter: )?.*{wrong}"):
            config.parse("shelf://x")


def test_two_distributions_with_one_scheme(install):
    """Two distributions with one scheme are an error, once it is used, that names both."""
    install("racks", "[lpcm.stores]\nshelf = shelves_f\n", shelves_f=MODULE)
    install("shelves", "[lpcm.stores]\nshelf = shelves_f\n")
    with pytest.raises(ConfigError, match=r"a store of racks 1.5 and shelves 1.5: uninstall"):
        config.parse("shelf://x")


def test_the_options_of_every_url_are_reserved():
    """No adapter may take for its own what every URL has."""
    assert frozenset(config._COMMON) == RESERVED


USES = """
import json, sys
import lpcm
from lpcm.engine import config

lpcm.LPCM("m", url="memory://?cache=memory://")["k"] = 1
lpcm.LPCM("m", url=f"sqlite:///{sys.argv[1]}/m.sqlite3")["k"] = 1
for url in ("dynamodb://t?cache=memcached://h", "memcached://h", "memcached+unix:///s"):
    config.parse(url)
before = "importlib.metadata" in sys.modules
try:
    config.parse("nowhere://")
except lpcm.ConfigError:
    print(json.dumps([before, "importlib.metadata" in sys.modules]))
"""


def test_schemes_of_ours_never_look_at_what_is_installed(tmp_path):
    """Neither the import nor a URL of lpcm's own reads metadata; an unknown scheme does."""
    command = [sys.executable, "-I", "-c", USES, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [False, True]
