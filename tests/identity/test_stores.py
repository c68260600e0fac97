"""No two stores share a cached item, and one store's clients share them all.

Each test has one memcached for all, which is what brings the stores together.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from checks import servers
from lpcm import LPCM, Engine, StoreDenied
from lpcm.coherence.catalogue import Identified
from lpcm.engine.drive import run
from lpcm.ports import MapState
from lpcm.testing import FakeClock
from lpcm.values.keys import encode, partition
from tests.dynamodb.tables import REGION, Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from checks.servers import Server

ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


@pytest.fixture
def cache(memcached: Server) -> str:
    """Return the URL of the memcached that all share."""
    return f"memcached://{memcached.host}:{memcached.port}"


@pytest.fixture
def opened() -> Iterator[Callable[..., Engine]]:
    """Yield what opens an engine for one test."""
    engines: list[Engine] = []

    def open_(url: str, **options: object) -> Engine:
        engines.append(Engine.open(url, **options))
        return engines[-1]

    yield open_
    for engine in engines:
        engine.close()


def cached(engine: Engine, name: str, key: object) -> bool:
    """Tell whether the entry stands in the cache."""
    coherent = engine.stack.coherent
    assert coherent is not None
    found = run(coherent.cached(partition(engine.namespace, name), [encode(key)]))
    return bool(found)


def program(path: str, cache: str, *lines: str) -> list[str]:
    """Return the command of a process that has the map ``m`` of a file."""
    text = "\n".join((
        "from lpcm import LPCM, Engine",
        f"engine = Engine.open('sqlite:///' + {path!r}, cache={cache!r})",
        "m = LPCM('m', using=engine)",
        *lines,
        "engine.close()",
    ))  # fmt: skip
    return [sys.executable, "-c", text]


def said(command: list[str]) -> str:
    """Run a process; return what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# DynamoDB


@pytest.fixture(scope="module")
def tables(aws: None) -> Iterator[list[Table]]:
    """Yield two tables of one name and region, on two engines."""
    with servers.dynoxide() as one, servers.dynoxide() as two:
        found = [Table(f"http://{each.host}:{each.port}") for each in (one, two)]
        yield found
        for table in found:
            table.close()


@pytest.mark.parametrize("what", ["endpoints", "accounts"])
def test_two_tables_of_one_name(tables, cache, opened, monkeypatch, what):
    """Staging and production behind one URL, by the environment alone, share no item."""
    url = f"dynamodb://{tables[0].name}?region={REGION}"
    values = ["staging", "production"]
    for table, value in zip(tables, values, strict=True):
        table.empty()
        LPCM("m", using=opened(table.url))["k"] = value
    engines = []
    for number, table in enumerate(tables):
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", table.endpoint)
        if what == "accounts":
            monkeypatch.setenv("AWS_ACCESS_KEY_ID", f"AKIAACCOUNT{number}")
        engine = opened(url, cache=cache)
        assert LPCM("m", using=engine)["k"] == values[number]
        assert cached(engine, "m", "k")
        engines.append(engine)
    one, two = (LPCM("m", using=engine) for engine in engines)
    one["k"] = "new"
    assert (one["k"], two["k"]) == ("new", "production")


def test_a_table_restored_under_another_name(tables, cache, opened):
    """A copy of a table has the rows of the first, its identity too, and shares no item with it."""
    first = tables[0]
    first.empty()
    copy = Table(first.endpoint, "restored")
    copy.empty()
    LPCM("m", using=opened(first.url, cache=cache))["k"] = "old"
    for item in first.items():
        copy.call("PutItem", TableName=copy.name, Item=item)
    one, two = (LPCM("m", using=opened(each.url, cache=cache)) for each in (first, copy))
    assert two["k"] == "old"
    one["k"] = "new"
    assert (one["k"], two["k"]) == ("new", "old")
    copy.close()


def test_one_table_by_two_endpoints(tables, cache, opened):
    """One table is one store, whatever its endpoint is called: a write is seen at once."""
    table = tables[0]
    table.empty()
    other = Table(table.endpoint.replace("127.0.0.1", "localhost"))
    one, two = (LPCM("m", using=opened(each.url, cache=cache)) for each in (table, other))
    one["k"] = 1
    assert two["k"] == 1
    one["k"] = 2
    assert two["k"] == 2
    other.close()


def test_an_earlier_table_gets_an_identity(tables, cache, opened):
    """A table of an earlier version is read uncached until a writer gives it an identity."""
    table = tables[0]
    table.empty()
    LPCM("m", using=opened(table.url))["k"] = 1
    own = {"pk": {"S": "default/"}, "sk": {"S": encode("")}}
    table.call("DeleteItem", TableName=table.name, Key=own)
    reader, writer = (opened(table.url, cache=cache) for _ in range(2))
    m = LPCM("m", using=reader)
    assert m["k"] == 1
    assert not cached(reader, "m", "k")
    LPCM("m", using=writer)["k"] = 2
    assert m["k"] == 2
    assert cached(reader, "m", "k")


# SQLite


def test_two_files_swapped_at_one_path(tmp_path, cache):
    """Another file under the name of the first is another store."""
    path = str(tmp_path / "m.sqlite3")
    said(program(path, cache, "m['k'] = 'first'"))
    (tmp_path / "m.sqlite3").rename(tmp_path / "away.sqlite3")
    said(program(path, cache, "m['other'] = 1"))
    assert said(program(path, cache, "print(m.get('k'))")) == "None"


@pytest.mark.skipif(not ROOT, reason="mounting needs root; two files swapped show the same")
def test_two_containers(tmp_path, cache):
    """Two mount namespaces with a file of one path, and one host name, share no item."""
    place = tmp_path / "data"
    place.mkdir()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()

    def inside(name: str, *lines: str) -> list[str]:
        script = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'
        own = [str(tmp_path / name), str(place)]
        command = program(str(place / "m.sqlite3"), cache, *lines)
        return ["unshare", "--mount", "sh", "-c", script, "sh", *own, *command]

    said(inside("one", "m['k'] = 'one'"))
    said(inside("two", "m['other'] = 1"))
    assert said(inside("two", "print(m.get('k'))")) == "None"
    assert said(inside("one", "print(m['k'])")) == "one"


@pytest.mark.skipif(not ROOT, reason="a host name of one's own needs root")
def test_two_containers_on_one_file(tmp_path, cache, opened):
    """Two containers that share a file share its items: what one writes the other reads."""
    path = str(tmp_path / "m.sqlite3")
    m = LPCM("m", using=opened(f"sqlite:///{path}", cache=cache))
    m["k"] = 1
    assert m["k"] == 1
    script = 'hostname elsewhere && exec "$@"'
    command = program(path, cache, "print(m['k'])", "m['k'] = 2")
    assert said(["unshare", "--uts", "sh", "-c", script, "sh", *command]) == "1"
    assert m["k"] == 2


def test_a_copied_file(tmp_path, cache, opened):
    """A copy of a file shares no item with it, though it has its identity."""
    path = str(tmp_path / "m.sqlite3")
    said(program(path, cache, "m['k'] = 'old'"))
    shutil.copy(path, tmp_path / "copy.sqlite3")
    one = LPCM("m", using=opened(f"sqlite:///{path}", cache=cache))
    two = LPCM("m", using=opened(f"sqlite:///{tmp_path}/copy.sqlite3", cache=cache))
    one["k"] = "new"
    assert (one["k"], two["k"]) == ("new", "old")


def test_who_may_only_read_finds_the_identity(tmp_path, cache, opened):
    """A reader of a file it may not write shares the writer's items."""
    path = tmp_path / "m.sqlite3"
    writer = LPCM("m", using=opened(f"sqlite:///{path}", cache=cache))
    writer["k"] = 1
    script = [
        "import os, sys",
        "from lpcm.stores.sqlite import store as sqlite",
        "sqlite.writable = lambda path: False",  # root may write anything
        *program(str(path), cache, "print(m['k'], type(engine.store).__name__)")[2].split("\n"),
    ]
    writer["k"] = 2
    told = said([sys.executable, "-c", "\n".join(script)])
    assert told == "2 ReadOnlyStore"


# Any store


def test_a_namespace_made_anew(tmp_path, cache, opened):
    """What was cached of a namespace that was dropped is served to nobody after that."""
    url = f"sqlite:///{tmp_path}/m.sqlite3"
    first = opened(url, cache=cache)
    LPCM("m", using=first)["k"] = "old life"
    assert LPCM("m", using=first)["k"] == "old life"
    run(first.store.drop(first.namespace))
    second = opened(url, cache=cache)
    assert LPCM("m", using=second).get("k") is None
    LPCM("m", using=second)["other"] = 1
    assert LPCM("m", using=second).get("k") is None


def test_a_living_process_notices_within_a_minute(tmp_path, cache, opened):
    """A process that lives on takes the new identity with its first miss or write after 60 s."""
    url, clock = f"sqlite:///{tmp_path}/m.sqlite3", FakeClock()
    living = opened(url, cache=cache, clock=clock)
    m = LPCM("m", using=living)
    m["k"] = "old life"
    other = opened(url, cache=cache)
    run(other.store.drop(other.namespace))
    n = LPCM("m", using=other)
    n["k"] = "new life"
    n["another"] = 1
    clock.advance(61)
    assert m["another"] == 1
    assert m["k"] == "new life"
    run(other.store.drop(other.namespace))
    clock.advance(61)
    m["k"] = "third life"
    third = opened(url, cache=cache)
    assert LPCM("m", using=third)["k"] == "third life"
    assert run(third.store.maps(third.namespace))[0].name == "m"


def test_nothing_is_cached_of_what_nobody_wrote(tmp_path, cache, opened):
    """Until the first write each read asks the store; from then on the cache answers."""
    url = f"sqlite:///{tmp_path}/m.sqlite3"
    reader, writer = (opened(url, cache=cache) for _ in range(2))
    m = LPCM("m", using=reader)
    assert m.get("k") is None
    assert m.get_many(["k", "l"]) == {}
    assert not cached(reader, "m", "k")
    LPCM("elsewhere", using=writer)["x"] = 1
    assert m.get("k") is None
    assert cached(reader, "m", "k")
    LPCM("m", using=writer)["k"] = 1
    assert m["k"] == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_the_memory_of_a_child_is_another_store(cache, opened):
    """A child of a fork, whose memory is a copy, shares no item with its parent."""
    m = LPCM("m", using=opened("memory://", cache=cache))
    m["k"] = "parent"
    assert m["k"] == "parent"
    child = os.fork()
    if not child:
        code = 1
        try:
            same = m["k"] == "parent"
            m["k"] = "child"
            code = 0 if same and m["k"] == "child" else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert m["k"] == "parent"


def test_renewed(tmp_path, cache, opened):
    """After ``renew`` nothing that was cached before is served to who asks then."""
    url = f"sqlite:///{tmp_path}/m.sqlite3"
    first = opened(url, cache=cache)
    LPCM("m", using=first)["k"] = "before"
    run(first.store.apply(partition("default", "m"), "k", _put("restored"), 0.0))
    assert LPCM("m", using=opened(url, cache=cache))["k"] == "before"
    run(first.store.renew("default"))
    assert LPCM("m", using=opened(url, cache=cache))["k"] == "restored"


def test_an_interrupted_first_look(tmp_path, cache, opened, monkeypatch):
    """An exception of a signal handler, as the identity has come, keeps nobody from writing."""
    engine = opened(f"sqlite:///{tmp_path}/m.sqlite3", cache=cache)
    m = LPCM("m", using=engine)
    keep, soft = Identified.keep, [KeyboardInterrupt]

    def interrupted(self, *arguments):
        if soft:
            raise soft.pop()
        keep(self, *arguments)

    monkeypatch.setattr(Identified, "keep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        m["k"] = 1
    m["k"] = 2
    assert m["k"] == 2
    assert cached(engine, "m", "k")


@pytest.mark.parametrize("identity", ["appears", "disappears"])
def test_another_thread_writes_amid_the_first_look(tmp_path, cache, opened, monkeypatch, identity):
    """What one thread has learnt in part keeps no other from writing."""
    engine = opened(f"sqlite:///{tmp_path}/m.sqlite3", cache=cache)
    m = LPCM("m", using=engine)
    if identity == "disappears":
        m["k"] = 0
    keep, found = Identified.keep, []

    def write():
        try:
            m["k"] = 1
        except StoreDenied as error:
            found.append(error)
        else:
            found.append("written")

    def in_another_thread():
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()

    def slow(self, *arguments):
        monkeypatch.setattr(Identified, "keep", keep)  # the other thread's is as it is
        in_another_thread()
        keep(self, *arguments)
        in_another_thread()

    monkeypatch.setattr(Identified, "keep", slow)
    if identity == "appears":
        m["k"] = 2
    else:
        engine.catalogue._remember("default/m/", MapState(None, None), time.time())
    assert found == ["written", "written"]
    m["k"] = 3
    assert m["k"] == 3
    assert cached(engine, "m", "k")


def _put(text: str) -> object:
    from lpcm.ports import Cell, Put

    return Put(Cell(text, None), 1)


class Denying:
    """A store whose catalogue may not be read, or not be entered."""

    def __init__(self, store, *denied):
        self._store = store
        self._denied = denied

    def __getattr__(self, name):
        return self._denies if name in self._denied else getattr(self._store, name)

    async def _denies(self, *_):
        raise StoreDenied("no")


def test_who_may_not_read_the_identity(tmp_path, cache, opened):
    """A reader without the catalogue caches nothing; a writer without it writes nothing."""
    from lpcm.engine import config

    url = f"sqlite:///{tmp_path}/m.sqlite3"
    plain = opened(url, cache=cache)
    LPCM("m", using=plain)["k"] = 1
    settings = config.parse(url, {"cache": cache})
    blind = Engine(Denying(plain.store, "describe", "register"), settings, cache=plain.stack.cache)
    m = LPCM("m", using=blind)
    assert m["k"] == 1
    assert m.get_many(["k"]) == {"k": 1}
    LPCM("m", using=plain)["k"] = 2
    assert m["k"] == 2
    with pytest.raises(StoreDenied):
        m["k"] = 3
    assert LPCM("m", using=plain)["k"] == 2
