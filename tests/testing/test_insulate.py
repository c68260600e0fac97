"""Insulation: whatever a test starts, real rows stay as they are."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import lpcm
from lpcm import LPCM, Engine, Insulated, StoreUnavailable
from lpcm.engine.insulation import fence
from lpcm.engine.state import refresh
from lpcm.testing import FakeClock, insulate, rollback

if TYPE_CHECKING:
    from collections.abc import Iterator

WRITE = "import sys; from lpcm import LPCM; LPCM('users', using='real')['k'] = sys.argv[1]"


@pytest.fixture
def real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LPCM]:
    """Yield a map of a real store, with a row in it."""
    url = f"sqlite:///{tmp_path}/real.sqlite3"
    monkeypatch.setenv("LPCM_URL", url)
    monkeypatch.delenv("LPCM_NAMESPACE", raising=False)
    monkeypatch.delenv("LPCM_SCRATCH", raising=False)
    users = LPCM("users")
    users["k"] = "real"
    yield users
    lpcm.close()
    fence(None)


def everything(tmp_path: Path) -> set[tuple[str, object]]:
    """Return all that is in the real file, whatever its namespace."""
    import sqlite3

    with sqlite3.connect(f"file:{tmp_path}/real.sqlite3?mode=ro", uri=True) as database:
        return {(pk, v) for pk, v in database.execute("SELECT pk, v FROM entries")}


def write_everywhere(users: LPCM) -> None:
    """Write from this thread, another, a task, a fork and a subprocess."""
    users["here"] = 1
    thread = threading.Thread(target=users.set, args=("thread", 1))
    thread.start()
    thread.join(30)
    asyncio.run(users.aset("task", 1))
    fork = multiprocessing.get_context("fork").Process(target=users.set, args=("fork", 1))
    fork.start()
    fork.join(30)
    assert fork.exitcode == 0
    code = "from lpcm import LPCM; LPCM('users')['subprocess'] = 1"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("scratch", [False, True])
def test_whatever_a_test_starts_shares_its_namespace(real: LPCM, tmp_path: Path, scratch: bool):
    """Threads, tasks, forks and subprocesses write where the test does; real rows stay."""
    before = everything(tmp_path)
    with insulate(scratch=scratch):
        assert real.copy() == {}
        write_everywhere(real)
        assert sorted(real) == ["fork", "here", "subprocess", "task", "thread"]
        real.clear()
        real["k"] = "test"
        if scratch:
            assert everything(tmp_path) == before
    assert real["k"] == "real"
    assert everything(tmp_path) == before


def test_scratch_asks_no_real_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With scratch, a store that does not exist is not missed, and two stores stay two."""
    monkeypatch.setenv("LPCM_URL", "sqlite:////nowhere/at/all.sqlite3")
    with insulate(scratch=True):
        one, other = LPCM("m"), LPCM("m", url=f"sqlite:///{tmp_path}/other.sqlite3")
        one["k"], other["k"] = 1, 2
        assert (one["k"], other["k"]) == (1, 2)
        directory = Path(os.environ["LPCM_SCRATCH"])
        assert len(list(directory.glob("*.sqlite3"))) == 2
    assert not directory.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_cleared_environment_leads_nowhere_else(
    real: LPCM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A test that empties the environment still writes to its namespace."""
    before = everything(tmp_path)
    with insulate() as namespace:
        monkeypatch.delenv("LPCM_NAMESPACE")
        refresh()
        real["k"] = "test"
        engine = Engine.open(f"sqlite:///{tmp_path}/real.sqlite3", namespace="production")
        assert engine.namespace == namespace
    assert everything(tmp_path) == before


def test_writing_to_the_real_namespace_raises(
    real: LPCM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Where a test leaves its namespace on purpose it may read there, and no write is done."""
    before = everything(tmp_path)
    with insulate():
        real["k"] = "test"
        monkeypatch.setenv("LPCM_NAMESPACE", "default")
        refresh()
        assert real["k"] == "real"
        for write in (
            lambda: real.set("k", 1),
            lambda: real.increment("n"),
            lambda: real.update(a=1),
            lambda: real.delete("k"),
            lambda: real.pop("k"),
            lambda: real.expire("k", 1),
            lambda: real.transform("k", str.upper),
            real.popitem,
            real.clear,
            lambda: asyncio.run(real.aset("k", 1)),
        ):
            with pytest.raises(Insulated):
                write()
    assert everything(tmp_path) == before


def test_what_tests_left_running_cannot_write(real: LPCM, tmp_path: Path):
    """After the last test a thread that goes on is refused, until lpcm is configured anew."""
    before = everything(tmp_path)
    over, refused = threading.Event(), []

    def go_on() -> None:
        over.wait(30)
        try:
            real["k"] = "late"
        except Insulated as error:
            refused.append(error)

    with insulate(final=True):
        thread = threading.Thread(target=go_on)
        thread.start()
    over.set()
    thread.join(30)
    assert len(refused) == 1
    assert everything(tmp_path) == before
    assert real["k"] == "real"
    lpcm.configure("memory://", using="elsewhere")
    real["k"] = "allowed"


def test_insulations_nest(real: LPCM):
    """An inner namespace is a new one, and the outer is as it was afterwards."""
    with insulate():
        real["k"] = "outer"
        with insulate(scratch=True):
            assert real.copy() == {}
            real["k"] = "inner"
        assert real["k"] == "outer"
        real["k"] = "still"
    assert real["k"] == "real"


VALUES = {"n": 1, "list": [1, {"a": (2, b"3")}], ("eu", 7): {1, 2}, 2.5: None, "big": 2**70}


@pytest.mark.parametrize("kind", ["alias", "engine", "memory"])
def test_a_block_is_undone(real: LPCM, tmp_path: Path, kind: str):
    """A rolled back block finds what was there, etags and expiries too, and leaves nothing."""
    before = everything(tmp_path)
    with insulate():
        where: dict[str, object] = {"alias": {}, "memory": {"url": "memory://undone"}}.get(
            kind, {"using": Engine.open(f"sqlite:///{tmp_path}/real.sqlite3")}
        )
        m = LPCM("m", **where)
        m.update(VALUES)
        m.set("soon", 1, ttl=500)
        entries = [m.entry(key) for key in m]
        for _ in range(2):
            with rollback():
                assert [m.entry(key) for key in m] == entries
                m["list"].append(2)
                m.increment("n")
                del m["big"]
                with rollback():
                    m.clear()
                    LPCM("other", **where)["k"] = 1
                assert m["n"] == 2
                assert "other" not in lpcm.maps(**({} if "url" in where else where))
            assert [m.entry(key) for key in m] == entries
        if kind == "engine":
            where["using"].close()
    assert everything(tmp_path) == before


def test_every_page_is_copied():
    """However many entries there are, a block that is rolled back begins with all of them."""
    clock = FakeClock()
    m = LPCM("m", using=Engine.open("memory://", clock=clock))
    with insulate():
        m.update((f"k{n:05}", n) for n in range(2500))
        with rollback():
            assert len(m) == 2500
            m.clear()
        assert len(m) == 2500


def test_a_block_without_writes_asks_no_store(real: LPCM, tmp_path: Path):
    """A block that does nothing costs a few calls of Python functions, whatever was open before."""
    with insulate():
        with rollback():
            real["k"] = "of another test"
        calls: list[object] = []
        sys.setprofile(lambda frame, event, _: calls.append(frame) if event == "call" else None)
        try:
            with rollback():
                pass
        finally:
            sys.setprofile(None)
    assert len(calls) < 150
    assert not [frame for frame in calls if "stores" in frame.f_code.co_filename]


def test_a_block_that_is_not_insulated(real: LPCM, tmp_path: Path):
    """Where nothing is insulated, the block is: it neither sees nor copies what is real."""
    before = everything(tmp_path)
    with rollback():
        assert real.copy() == {}
        real["k"] = "test"
    assert everything(tmp_path) == before
    assert real["k"] == "real"


def test_what_was_closed_meanwhile_is_cleared_away(real: LPCM, tmp_path: Path):
    """A store that the test closed is opened again to delete what was written."""
    before = everything(tmp_path)
    with insulate():
        real["k"] = "test"
        lpcm.close()
    assert everything(tmp_path) == before


def test_an_application_that_closes_within_its_tests(real: LPCM):
    """``lpcm.close()`` in a test leaves no store to be opened in the directory that is gone."""
    with insulate(scratch=True):
        LPCM("users")["k"] = "test"
        lpcm.close()
    assert real["k"] == "real"


def test_a_fork_that_leaves_the_block_clears_nothing_away(real: LPCM):
    """A child that unwinds through ``insulate`` leaves its parent's entries alone."""
    try:
        with insulate():
            real["k"] = "test"
            child = os.fork()
            if child == 0:
                raise SystemExit  # noqa: TRY301  # unwinds through insulate
            assert os.waitpid(child, 0)[1] == 0
            assert real["k"] == "test"
    except SystemExit:  # the child, out of the block
        os._exit(0)


def test_unittest_is_insulated(real: LPCM, tmp_path: Path):
    """``python -m unittest`` runs in a namespace and on scratch files of its own."""
    (tmp_path / "test_mine.py").write_text(
        "import os, unittest\n"
        "from lpcm import LPCM\n"
        "users = LPCM('users')\n"
        "class Mine(unittest.TestCase):\n"
        "    def test_it(self):\n"
        "        self.assertEqual(users.copy(), {})\n"
        "        users['k'] = 'test'\n"
        "        self.assertIn('LPCM_SCRATCH', os.environ)\n"
        "        print(os.environ['LPCM_SCRATCH'])\n"
    )
    before = everything(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "unittest", "-v"],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert everything(tmp_path) == before
    assert not Path(done.stdout.strip()).exists()


def test_a_store_that_never_opened_is_not_cleared(tmp_path: Path):
    """A wrong URL used within a test is that test's failure, and not the end of the run's."""
    real = LPCM("m", url=f"sqlite:///{tmp_path}/real.sqlite3")
    with insulate():
        with pytest.raises(StoreUnavailable):
            LPCM("m", url=f"sqlite:///{tmp_path}").get("k")
        real["k"] = 1
    assert everything(tmp_path) == set()
    lpcm.close()


def test_what_cannot_be_cleared_leaves_nothing_else_insulated(tmp_path: Path):
    """Where a store fails at the end, that is raised, and the process is as it was before."""
    url = f"sqlite:///{tmp_path}/m.sqlite3"
    LPCM("m", url=url)["k"] = "real"

    async def fail(_: str):
        raise StoreUnavailable("gone")

    engine = Engine.open("memory://")
    engine.store.drop = fail
    with insulate():
        LPCM("m", url=url)["k"] = "test"  # and not in the engine that fails
    with pytest.raises(StoreUnavailable), insulate():
        LPCM("m", url=url)["k"] = LPCM("m", using=engine)["k"] = "test"
    assert LPCM("m", url=url)["k"] == "real"
    engine.close()
    lpcm.close()
