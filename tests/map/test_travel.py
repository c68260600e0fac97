"""Maps that travel: a pickle arrives at the store it came from, a copy is the same map."""

import copy
import json
import os
import pickle
import pickletools
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

import lpcm
from lpcm import LPCM, ConfigError, Engine, Entry, Insulated, LPCMSet, PickleRefused, transaction
from lpcm.engine import aliases, config
from lpcm.engine.address import Address
from lpcm.engine.insulation import fence
from lpcm.map import travel as _travel
from lpcm.operations.entry import MISSING
from lpcm.testing import insulate
from tests.dynamodb.tables import Table

TRAVELLER = Path(__file__).with_name("traveller.py")


def clean(**more):
    """Return an environment without insulation."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LPCM_")}
    return {**kept, **more}


def travel(directory, *arguments):
    """Run the program there; return what it printed."""
    done = subprocess.run(
        [sys.executable, str(TRAVELLER), *arguments],
        cwd=directory, env=clean(), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# Processes

NORMAL = [["busy_timeout", 7.0], ["synchronous", "normal"]]


def check(directory, method, scenario, where, namespace="default", *, cache=None, url=""):
    """Every child of the program works where its parent does."""
    told = travel(directory, method, scenario, *([url] if url else []))
    assert told["n"] == 4  # parent, process, pool and executor: all counted in one place
    for seen in told["seen"]:
        assert seen == told["seen"][0]
        assert seen[:2] == [where, namespace]
        assert (seen[2] is None) == (cache is None)
    assert list(Path(directory).rglob("lpcm.sqlite3")) == []
    return told["seen"][0]


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
class TestProcesses:
    """A map that ``configure`` under ``__main__`` made arrives in each child, however started."""

    def test_a_configured_alias(self, tmp_path, method):
        """The store, its options, a ttl: as the parent has them, and no file in the directory."""
        seen = check(tmp_path, method, "configured", f"sqlite:///{tmp_path}/shop.sqlite3")
        assert seen[3] == [3600.0, 3600, *NORMAL]

    def test_a_namespace(self, tmp_path, method):
        """An alias of another name and its namespace."""
        check(tmp_path, method, "namespace", f"sqlite:///{tmp_path}/shop.sqlite3", "blue")

    def test_a_relative_url(self, tmp_path, method):
        """A path relative to a directory that the parent has left since."""
        check(tmp_path, method, "relative", f"sqlite:///{tmp_path}/shop.sqlite3")
        assert list((tmp_path / "elsewhere").iterdir()) == []

    def test_a_cache(self, tmp_path, method, memcached):
        """The cache in front of the store, so that nobody reads what others have changed."""
        url = f"memcached://127.0.0.1:{memcached.port}"
        where = f"sqlite:///{tmp_path}/shop.sqlite3"
        seen = check(tmp_path, method, "cached", where, cache=True, url=url)
        assert seen[3][:2] == [None, 60]

    def test_an_alias_of_django(self, tmp_path, method):
        """An alias of Django's settings, in a child that sets no Django up."""
        check(tmp_path, method, "django", f"sqlite:///{tmp_path}/shop.sqlite3", "reports")


def test_a_table(tmp_path, dynoxide):
    """A table of DynamoDB with its region, endpoint and namespace."""
    table = Table(dynoxide.endpoint)
    url = f"{table.url}"
    check(tmp_path, "spawn", "dynamodb", f"dynamodb://{table.name}", "blue", url=url)
    table.close()


# Other programs: a broker's message, a file

WORKER = """
import pickle, sys
import lpcm
exec(sys.argv[1])
m = pickle.load(sys.stdin.buffer)["args"][0]
m["worker"] = 1
print(m._bound[2].engine.location, m._bound[2].namespace)
"""


def deliver(m, directory, setup="", **environment):
    """Send the map to a program of another configuration, as brokers do; return how it ended."""
    message = m if isinstance(m, bytes) else pickle.dumps({"task": "t", "args": [m]})
    return subprocess.run(
        [sys.executable, "-c", WORKER, setup],
        input=message, cwd=directory, env=clean(**environment), capture_output=True, timeout=60,
        check=False,
    )  # fmt: skip


@pytest.fixture
def bare(monkeypatch):
    """Be a process without insulation; what the test configures and opens goes."""
    for name in ("LPCM_NAMESPACE", "LPCM_SCRATCH", "LPCM_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(aliases, "_aliases", {})
    before = fence(None)
    yield
    lpcm.close()
    fence(before)


@pytest.fixture
def away(tmp_path):
    """Return a directory for the worker to be in."""
    directory = tmp_path / "away"
    directory.mkdir()
    return directory


def test_the_receiver_s_configuration_does_not_redirect_it(bare, tmp_path, away):
    """The alias, LPCM_URL and the directory of who receives a map leave it where it was."""
    lpcm.configure(f"sqlite:///{tmp_path}/shop.sqlite3")
    m = LPCM("m")
    m["sender"] = 1
    setup = "lpcm.configure('sqlite:///other.sqlite3')"
    done = deliver(m, away, setup, LPCM_URL="sqlite:///another.sqlite3")
    assert done.stdout.decode().split() == [f"sqlite:///{tmp_path}/shop.sqlite3", "default"]
    assert m.copy() == {"sender": 1, "worker": 1}
    assert list(away.iterdir()) == []


def test_the_receiver_s_environment_says_the_namespace(bare, tmp_path, away, monkeypatch):
    """The sender's LPCM_NAMESPACE travels; the receiver's own outranks it."""
    monkeypatch.setenv("LPCM_NAMESPACE", "blue")
    m = LPCM("m", url=f"sqlite:///{tmp_path}/shop.sqlite3")
    where = f"sqlite:///{tmp_path}/shop.sqlite3"
    assert deliver(m, away).stdout.decode().split() == [where, "blue"]
    assert m.copy() == {"worker": 1}
    assert deliver(m, away, LPCM_NAMESPACE="green").stdout.decode().split() == [where, "green"]


def test_a_map_is_sent_on(bare, tmp_path, away):
    """A map that arrived is pickled again as it came."""
    m = LPCM("m", url=f"sqlite:///{tmp_path}/shop.sqlite3?namespace=blue", ttl=60)
    again = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(m))))
    assert again._using == pickle.loads(pickle.dumps(m))._using
    again["k"] = 1
    assert m["k"] == 1
    assert copy.deepcopy(again)["k"] == 1


def refused(done, kind, text):
    """Require that the program ended by that error, and that it says so."""
    assert done.returncode != 0
    last = done.stderr.decode().splitlines()[-1]
    assert last.startswith(f"lpcm.errors.{kind}: ")
    assert text in last


# Secrets and what belongs to one process

LOGIN = "memcached://ann:s3cret-word@127.0.0.1:1"


@pytest.mark.parametrize("cache", [True, False])
def test_a_password_does_not_travel(bare, tmp_path, away, cache):
    """A URL's password is in no pickle: who receives the map is configured with it, or refused."""
    url = f"sqlite:///{tmp_path}/shop.sqlite3?cache={LOGIN}" if cache else LOGIN
    lpcm.configure(url, using="shop")
    m = LPCM("m", using="shop")
    message = pickle.dumps({"args": [m]})
    assert b"s3cret" not in message
    assert pickle.loads(message)["args"][0]._use().identity == m._use().identity
    refused(deliver(message, away), "PickleRefused", "lpcm.configure(")
    refused(
        deliver(message, away, f"lpcm.configure({LOGIN.replace('1:1', '1:2')!r}, using='shop')"),
        "PickleRefused", "without the password",
    )  # fmt: skip
    done = deliver(message, away, f"lpcm.configure({url!r}, using='shop')")
    if cache:
        assert done.stdout.decode().split() == [f"sqlite:///{tmp_path}/shop.sqlite3", "default"]
    else:
        assert b"PickleRefused" not in done.stderr
        assert b"Error" in done.stderr  # it asks that server, which is not there


def test_the_password_of_a_url_of_the_map_s_own(bare, away):
    """A map of ``url=`` finds its password in any alias of the receiver; here it is still known."""
    m = LPCM("m", url=LOGIN)
    again = pickle.loads(pickle.dumps(m))
    assert again._use().identity == m._use().identity
    refused(deliver(m, away), "PickleRefused", "without the password of the store")
    done = deliver(m, away, f"lpcm.configure({LOGIN!r}, using='any')")
    assert b"PickleRefused" not in done.stderr


class Client:
    """A client of boto3, which has keys and sockets."""

    secret = "AKIA-s3cret"


def test_a_client_does_not_travel(bare, away):
    """Nothing of ``client=`` is in a pickle: the receiver's alias must have its own."""
    lpcm.configure("dynamodb://table", using="shop", client=Client())
    message = pickle.dumps({"args": [LPCM("m", using="shop")]})
    assert b"s3cret" not in message
    assert b"Client" not in message
    refused(deliver(message, away), "PickleRefused", "without the option 'client'")
    received = pickle.loads(message)["args"][0]._using
    mine = Client()
    lpcm.configure("dynamodb://table", using="shop", client=mine)
    assert received.complete(_travel._candidates("shop")).store_options == (("client", mine),)


def test_no_key_of_aws_travels(bare, monkeypatch):
    """AWS keys are in no pickle."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA-s3cret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    m = LPCM("m", url="dynamodb://table?region=eu-west-1&endpoint=http://127.0.0.1:1")
    assert b"s3cret" not in pickle.dumps(m)


def test_the_region_travels(bare, monkeypatch):
    """A table's region is the sender's, wherever that had it from; here it stays one engine."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    lpcm.configure("dynamodb://table?endpoint=http://127.0.0.1:1")
    m = LPCM("m")
    message = pickle.dumps(m)
    assert pickle.loads(message)._use().identity == m._use().identity
    monkeypatch.setattr(_travel, "_sent", {})  # as in another process
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    again = pickle.loads(message)
    again._use()
    settings = again._bound[2].engine._settings
    assert dict(settings.store_options) == {"endpoint": "http://127.0.0.1:1", "region": "eu-west-1"}


def test_the_region_of_a_profile_travels(bare, tmp_path, monkeypatch):
    """So is one that a profile names; without any, none is made up."""
    path = tmp_path / "config"
    path.write_text("[profile shop]\nregion = eu-north-1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(path))
    for name in ("AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for url, region in [
        ("dynamodb://table?profile=shop", "eu-north-1"),
        ("dynamodb://table?profile=nobody", None),
        ("dynamodb://table", None),
    ]:
        address = Address.of(config.parse(url), "default", None, forgets=False)
        assert dict(address.settings.store_options).get("region") == region


@pytest.mark.parametrize("url", ["memory://", "memory://travelling"])
def test_memory_does_not_travel(bare, away, url):
    """A map in a process's memory arrives there only; elsewhere its use is refused, not empty."""
    m = LPCM("m", url=url)
    m["k"] = 1
    assert pickle.loads(pickle.dumps(m)) == {"k": 1}
    refused(deliver(m, away), "PickleRefused", "from another process, whose memory")


def test_memory_does_not_travel_to_a_fork(bare, tmp_path):
    """In the child of a fork the store in memory is another: a copy that nobody else sees."""
    code = (
        "import multiprocessing as mp, pickle; from lpcm import LPCM\n"
        "m = LPCM('m', url='memory://')\n"
        "m['k'] = 1; assert pickle.loads(pickle.dumps(m))['k'] == 1\n"
        "with mp.get_context('fork').Pool(1) as pool: pool.apply_async(m.get, ('k',)).get(20)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path, env=clean(), capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    refused(done, "PickleRefused", "from another process")


def test_cached_only_maps_travel(bare, tmp_path, away):
    """A cached-only map without a cache is in any process's memory: its entries may vanish."""
    lpcm.configure(f"sqlite:///{tmp_path}/shop.sqlite3")
    m = LPCM("m", cache_only=True, cache_timeout=5)
    assert deliver(m, away).stdout.startswith(b"memory://cached only")
    again = pickle.loads(pickle.dumps(m))
    m["k"] = 1
    assert again["k"] == 1
    assert again.ttl("k") <= 5
    lpcm.configure(f"sqlite:///{tmp_path}/shop.sqlite3", using="c", cache_only=True)
    assert deliver(LPCM("m", using="c"), away).stdout.startswith(b"memory://cached only")


def test_an_engine_of_one_s_own_does_not_travel(bare):
    """Pickling it, made for this process, says what to write instead; copying works."""
    engine = Engine.open("memory://")
    m = LPCM("m", using=engine)
    with pytest.raises(PickleRefused, match="make the map with url="):
        pickle.dumps(m)
    for refused_copy in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(PickleRefused, match="cannot be pickled or copied"):
            refused_copy(engine)
    copy.deepcopy([m])[0]["k"] = 1
    assert copy.copy(m)["k"] == m["k"] == 1
    engine.close()


def test_an_alias_nobody_knows_is_not_pickled(bare):
    """What cannot be resolved cannot travel: the sender hears of it."""
    with pytest.raises(ConfigError, match="unknown alias 'nowhere'"):
        pickle.dumps(LPCM("m", using="nowhere"))


# Tests


@pytest.fixture
def real(bare, tmp_path):
    """Return a map of a real store, with a row in it."""
    lpcm.configure(f"sqlite:///{tmp_path}/real.sqlite3")
    m = LPCM("m")
    m["k"] = "real"
    return m


@pytest.mark.parametrize("how", [{}, {"scratch": True}, {"url": "memory://"}])
def test_insulation_outranks_what_arrives(real, tmp_path, how):
    """A map pickled in production and unpickled by a test is insulated as every other."""
    message = pickle.dumps(real)
    before = pickle.loads(message)
    assert before["k"] == "real"
    with insulate(**how):
        for m in (before, pickle.loads(message), pickle.loads(pickle.dumps(before))):
            assert "k" not in m
            m["k"] = "test"
            assert real["k"] == "test"
            m.clear()
        if how:
            assert before._bound[2].engine.location != f"sqlite:///{tmp_path}/real.sqlite3"
    assert pickle.loads(message)["k"] == before["k"] == real["k"] == "real"
    assert real.copy() == {"k": "real"}


@pytest.mark.parametrize("how", [{}, {"scratch": True}, {"url": "memory://"}])
def test_what_a_test_pickled_reaches_nothing_real(real, tmp_path, away, how):
    """Used by a process without insulation, this one afterwards or another, it is Insulated."""
    with insulate(**how):
        message = pickle.dumps({"args": [real]})
        mine = pickle.loads(message)["args"][0]
        mine["k"] = "test"
        assert real["k"] == "test"
    if how:
        assert b"real.sqlite3" not in message
    for m in (mine, pickle.loads(message)["args"][0], pickle.loads(pickle.dumps(mine))):
        with pytest.raises(Insulated, match="a test pickled this map"):
            m["k"] = "again"
    refused(deliver(message, away), "Insulated", "a test pickled this map")
    setup = f"lpcm.configure('sqlite:///{tmp_path}/real.sqlite3')"
    refused(deliver(message, away, setup), "Insulated", "a test pickled this map")
    refused(deliver(message, away, LPCM_NAMESPACE="blue"), "Insulated", "a test pickled this map")
    assert real.copy() == {"k": "real"}


@pytest.mark.parametrize("scratch", [True, False])
def test_a_test_with_a_password(bare, tmp_path, scratch):
    """A map whose password is withheld is itself in the test that pickled it."""
    m = LPCM("m", url=f"sqlite:///{tmp_path}/m.sqlite3?cache={LOGIN}")
    with insulate(scratch=scratch):
        assert pickle.loads(pickle.dumps(m))._use().identity == m._use().identity


def test_memory_of_a_test_is_its_process_s(real, away):
    """``insulate(url="memory://")`` is no store that a child of the test could reach."""
    with insulate(url="memory://"):
        inherited = {n: v for n, v in os.environ.items() if n.startswith("LPCM_")}
        refused(deliver(real, away, **inherited), "PickleRefused", "from another process")


@pytest.mark.parametrize("how", [{}, {"scratch": True}])
def test_a_child_of_a_test_shares_its_maps(real, tmp_path, away, how):
    """A map that a test sends to a process it started arrives in the test's own namespace."""
    with insulate(**how) as namespace:
        inherited = {n: v for n, v in os.environ.items() if n.startswith("LPCM_")}
        done = deliver(real, away, **inherited)
        assert done.stdout.decode().split()[1] == namespace
        assert real.copy() == {"worker": 1}
    assert real.copy() == {"k": "real"}


def test_two_tests_do_not_meet(real, tmp_path):
    """A map that one test pickled is empty in the next, wherever that is sent."""
    with insulate(scratch=True):
        message = pickle.dumps(real)
        real["k"] = "first"
    with insulate(scratch=True):
        m = pickle.loads(message)
        assert "k" not in m
        m["k"] = "second"
    assert real.copy() == {"k": "real"}


def test_python_m_unittest_is_a_test(tmp_path):
    """``python -m unittest`` is insulated also where pickling a map is its first use of lpcm."""
    (tmp_path / "test_mine.py").write_text(
        "import pickle, unittest\n"
        "from lpcm import LPCM\n"
        "message = pickle.dumps(LPCM('m', url='sqlite:///real.sqlite3'))\n"
        "class Mine(unittest.TestCase):\n"
        "    def test_it(self):\n"
        "        self.assertNotIn(b'real.sqlite3', message)\n"
        "        pickle.loads(message)['k'] = 1\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "unittest", "test_mine"],
        cwd=tmp_path, env=clean(), capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("*.sqlite3")) == []


# Subclasses


class Users(LPCM):
    """A map of one's own: another signature, attributes, a default that is a method."""

    def __init__(self, region, /, *, retries):
        super().__init__(f"users-{region}", default=self.fresh, ttl=60)
        self.region = region
        self.retries = [retries]
        self.itself = self

    def fresh(self):
        """Return what a missing user reads as."""
        return {"region": self.region}


class Slotted(LPCMSet):
    """A map with slots, one of them private, one empty."""

    __slots__ = ("__hidden", "limit", "unset")

    def __init__(self, limit):
        super().__init__("slotted")
        self.limit = limit
        self.__hidden = [limit]

    def hidden(self):
        """Return what the private slot holds."""
        return self.__hidden


class Guarded(LPCM):
    """A map with something that cannot be pickled, which it leaves out and makes anew."""

    def __init__(self, source):
        super().__init__("guarded", default=7)
        self.source = source
        self.lines = (line for line in "abc")

    def __getstate__(self):
        state = dict(self.__dict__)
        del state["lines"]
        return state

    def __setstate__(self, state):
        assert set(state) == {"source"}
        self.source = state["source"]
        self.lines = (line for line in "abc")


class Made(LPCM):
    """A map whose ``__new__`` wants an argument."""

    def __new__(cls, kind, *, size=0):
        made = super().__new__(cls)
        made.kind, made.size = kind, size
        return made

    def __init__(self, kind, *, size=0):
        super().__init__("made")

    def __getnewargs_ex__(self):
        return (self.kind,), {"size": self.size}


class Own(LPCM):
    """A map that says itself how it is pickled."""

    def __reduce__(self):
        return Own, (self.name,)


WAYS = [
    copy.copy,
    copy.deepcopy,
    *(lambda m, p=p: pickle.loads(pickle.dumps(m, p)) for p in range(pickle.HIGHEST_PROTOCOL + 1)),
]


@pytest.fixture(params=WAYS, ids=["copy", "deepcopy", *map(str, range(6))])
def travelled(request, tmp_path, monkeypatch):
    """Return each way to make a second map of one."""
    monkeypatch.setattr(aliases, "_aliases", {})
    lpcm.configure(f"sqlite:///{tmp_path}/m.sqlite3", using="default")
    yield request.param
    lpcm.close()


def test_a_subclass_keeps_its_attributes(travelled):
    """Its attributes come along, and ``__init__`` is not called again."""
    m = Users("eu", retries=3)
    m["k"] = {"name": "ann"}
    again = travelled(m)
    assert (type(again), again.name, again.region) == (Users, "users-eu", "eu")
    assert again["k"] == {"name": "ann"}
    assert again.ttl("k") > 0
    assert again["gone"] == {"region": "eu"}
    assert again.retries == [3]
    assert (again.retries is m.retries) == (travelled is copy.copy)
    if travelled is not copy.copy:
        assert again.itself is again
        assert again._default.__self__ is again
        again.region = "us"
        assert again["gone"] == {"region": "us"}
    again["j"] = {}
    assert m["j"] == {}


def test_a_subclass_keeps_its_slots(travelled):
    """Slots come along, private ones too; one that was never set is not set."""
    m = Slotted(5)
    m.more = {1}
    again = travelled(m)
    assert (type(again), again.limit, again.hidden(), again.more) == (Slotted, 5, [5], {1})
    assert not hasattr(again, "unset")
    again["k"] |= {1}
    assert m["k"] == {1}
    assert again["gone"] == set()


def test_a_subclass_decides_on_its_state(travelled):
    """``__getstate__`` and ``__setstate__`` are obeyed, and cannot lose what makes it a map."""
    m = Guarded("file")
    again = travelled(m)
    assert (again.source, list(again.lines), again["gone"]) == ("file", ["a", "b", "c"], 7)
    assert list(m.lines) == ["a", "b", "c"]


def test_a_subclass_is_made_with_its_arguments(travelled):
    """``__getnewargs_ex__`` is obeyed."""
    again = travelled(Made("k", size=3))
    assert (again.kind, again.size, again.name) == ("k", 3, "made")


def test_a_subclass_says_itself():
    """A ``__reduce__`` of its own is obeyed."""
    assert type(pickle.loads(pickle.dumps(Own("m")))) is Own


def test_options_travel(travelled):
    """Every option of a map comes along, and a parametrised class is no obstacle."""

    class Local:
        """A class that cannot be pickled."""

    m = LPCM[str, Local]("m", ttl=5, live=False, cache_timeout=9, cache_only=True)
    m.disable_caching()
    again = travelled(m)
    assert (again._ttl, again._live, again._cache_timeout) == (5.0, False, 9.0)
    assert (again._cache_only, again._caching, again._default) == (True, False, MISSING)


def test_what_is_ours():
    """``OWN`` names the attributes of a map, so that all others are known for a subclass's."""
    m = LPCM("m", ttl=1, cache_timeout=1)
    m.disable_caching()
    assert frozenset(vars(m)) == _travel.OWN


def test_a_copy_follows_its_alias(bare, tmp_path):
    """A copy in the process follows ``configure`` as its original; what arrived does not."""
    lpcm.configure(f"sqlite:///{tmp_path}/one.sqlite3")
    m = LPCM("m")
    m["k"] = 1
    copied, arrived = copy.copy(m), pickle.loads(pickle.dumps(m))
    lpcm.configure(f"sqlite:///{tmp_path}/two.sqlite3")
    assert "k" not in m
    assert "k" not in copied
    assert arrived["k"] == 1


# The form of a pickle


def named(message):
    """Return the modules and names that a pickle mentions."""
    texts, found = [], set()
    for operation, argument, _ in pickletools.genops(message):
        if operation.name == "STACK_GLOBAL":
            found.add(".".join(texts[-2:]))
        elif isinstance(argument, str):
            texts.append(argument)
    return found


def test_pickles_name_what_does_not_move(tmp_path):
    """A map's pickle names one function of lpcm, so that a later lpcm may move its classes."""
    url = f"sqlite:///{tmp_path}/m.sqlite3"
    assert named(pickle.dumps(LPCM("m", url=url, live=False))) == {"lpcm.map.travel.revive"}
    assert named(pickle.dumps(LPCM("m", url=url, default=0))) == {"lpcm.map.travel.revive"}
    sets = named(pickle.dumps(LPCMSet("m", url=url)))
    assert sets == {"lpcm.map.travel.revive", "builtins.set"}
    assert named(pickle.dumps(Entry("k", 1, 2, None))) == {"lpcm.map.travel.entry"}


def test_entries_travel(bare, tmp_path):
    """An entry arrives with its etag, its value a plain one, which changes nothing in the store."""
    m = LPCM("m", url=f"sqlite:///{tmp_path}/m.sqlite3")
    m.set("k", {"tags": ["x"]}, ttl=60)
    sent, arrived = pickle.loads(pickle.dumps((m, m.entry("k"))))
    assert arrived == m.entry("k")
    assert (type(arrived), type(arrived.value), type(arrived.value["tags"])) == (Entry, dict, list)
    arrived.value["tags"].append("y")
    assert m["k"] == {"tags": ["x"]}
    sent.replace("k", arrived.value, if_etag=arrived.etag)
    assert m["k"] == {"tags": ["x", "y"]}
    assert copy.copy(arrived) == copy.deepcopy(arrived) == arrived


def test_live_values_travel_plain(travelled):
    """What is pickled or deeply copied of a live value is plain: it knows no store."""
    m = LPCM("m")
    m["k"] = {"n": 1, "l": [{1}, ({"x": 1.5},)]}
    m["i"], m["f"], m["d"] = 1, 1.5, Decimal("1.5")
    for key in m:
        value = m[key]
        arrived = travelled(value)
        assert arrived == value
        assert type(arrived).__module__ in {"builtins", "decimal"}
        if travelled not in (copy.copy, copy.deepcopy):
            assert b"lpcm" not in pickle.dumps(value)
    deep = copy.deepcopy(m["k"])
    deep["l"][1][0]["x"] = 2
    assert m["k"]["l"][1][0]["x"] == 1.5


ADDRESS = {"scheme": "sqlite", "path": "/srv/shop.sqlite3"}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((2, "LPCM", ((), {}), {}), "by a later lpcm, in its format 2"),
        ((True, "LPCM", ((), {}), {}), "format True"),
        ((1, dict, ((), {}), {"name": "m", "address": ADDRESS}), "no LPCM"),
        ((1, "dict", ((), {}), {"name": "m", "address": ADDRESS}), "no LPCM"),
        ((1, "LPCM", ((), {}), []), "a list for its fields"),
        ((1, "LPCM", (), {"name": "m", "address": ADDRESS}), "the arguments"),
        ((1, "LPCM", ((), {}), {"name": "m"}), "no address"),
        ((1, "LPCM", ((), {}), {"address": ADDRESS}), "no name"),
        ((1, "LPCM", ((), {}), {"name": "", "address": ADDRESS}), "of no use"),
        ((1, "LPCM", ((), {}), {"name": b"m", "address": ADDRESS}), "the name b'm'"),
        ((1, "LPCM", ((), {}), {"name": "m", "address": ADDRESS, "x": 1}), "upgrade"),
        ((1, "LPCM", ((), {}), {"name": "m", "address": ADDRESS, "ttl": "1"}), "the ttl '1'"),
    ],
)  # fmt: skip
def test_a_pickle_of_another_form_is_refused(arguments, text):
    """A later format, an unknown field and a value of another type are clear errors."""
    with pytest.raises(PickleRefused, match=text):
        _travel.revive(*arguments)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"scheme": "redis"}, "unknown scheme 'redis'"),
        ({"path": "shop.sqlite3"}, "no absolute path"),
        ({"path": b"/x"}, "the path b'/x'"),
        ({"shards": 2}, "upgrade"),
        ({"store_options": {"speed": 1}}, "unknown option 'speed'"),
        ({"store_options": {"synchronous": "never"}}, "synchronous"),
        ({"store_options": {"synchronous": []}}, "the option 'synchronous'"),
        ({"scheme": "dynamodb", "store_options": {"client": object()}}, "the option 'client'"),
        ({"namespace": ""}, "of no use"),
        ({"in_namespace": "\ud800"}, "of no use"),
        ({"ttl": -1.0}, "of no use"),
        ({"cache": {"scheme": "memcached", "path": "h"}}, "no options"),
        ({"cache": {"scheme": "redis", "path": "h", "options": {}}}, "unknown scheme"),
        ({"withheld": (1,)}, "withheld"),
        ({"insulated": 1}, "the insulated 1"),
    ],
)  # fmt: skip
def test_an_address_of_another_form_is_refused(change, text):
    """Whatever an address holds is checked as a configuration is, before anything is opened."""
    with pytest.raises(PickleRefused, match=text):
        Address.unpack({**ADDRESS, **change})


def test_views_travel(bare, tmp_path):
    """A view arrives with its map and its range."""
    m = LPCM("m", url=f"sqlite:///{tmp_path}/m.sqlite3")
    m.update(a=1, b=2)
    for view in (m.keys(start="b"), m.items(start="b"), m.values(start="b")):
        assert list(pickle.loads(pickle.dumps(view))) == list(copy.deepcopy(view)) == list(view)


def test_a_transaction_does_not_travel(bare, tmp_path):
    """A transaction and a map in it belong to their block."""
    m = LPCM("m", url=f"sqlite:///{tmp_path}/m.sqlite3")
    with transaction() as t:
        for here in (t, t[m]):
            for way in (pickle.dumps, copy.copy, copy.deepcopy):
                if here is t or way is not copy.copy:
                    with pytest.raises(PickleRefused, match="belongs to the block"):
                        way(here)


def test_an_entry_of_another_form_is_refused():
    """So is what an entry holds."""
    with pytest.raises(PickleRefused, match="format 2"):
        _travel.entry(2, ())
    with pytest.raises(PickleRefused, match="the etag '1'"):
        _travel.entry(1, ("k", 1, "1", None))


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////srv/a%20b@c:d.sqlite3?synchronous=normal&busy_timeout=0.5&max_value=9&ttl=1.5",
        "memory://?max_value=9&namespace=blue&timeout=3",
        "memory://a name",
        "dynamodb://table?budget=1.5&patience=1&endpoint=http://h:1&exactly_once=true&region=r",
        "dynamodb://table?pool=3&profile=p&region=r&on_cache_error=strict&cache_ttl=9",
        "dynamodb://arn:aws:dynamodb:r:1:table/t?region=r&cache=memcached%2Bunix:///s/@:m",
        "memcached+tls://h1,h2:9?ca=/etc/ca.pem&timeout=0.5&connect_timeout=2&max_value=9",
        "sqlite:////x?cache=memcached://h?timeout=0.5%26connect_timeout=0.25",
        "sqlite:////x?cache=memory://n?max_bytes=9",
    ],
)  # fmt: skip
def test_every_option_travels(url):
    """A configuration is packed and unpacked as the same, and without secrets as it was."""
    settings = config.parse(url)
    address = Address.of(settings, "green", "alias", forgets=False)
    assert address.settings == settings
    again = Address.unpack(pickle.loads(pickle.dumps(address.pack())))
    assert again == address
    assert again.complete([]) == settings


def test_the_files_of_tls_travel_absolute(tmp_path, monkeypatch):
    """A certificate's relative path means the sender's file."""
    monkeypatch.chdir(tmp_path)
    settings = config.parse("memcached+tls://h?ca=ca.pem")
    address = Address.of(settings, "default", None, forgets=False)
    assert dict(address.settings.store_options) == {"ca": f"{tmp_path}/ca.pem"}
