"""The pytest plugin, in whole runs of pytest: insulation, its settings, fixtures and price."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WRITES_EVERYWHERE = """
import asyncio, multiprocessing, os, subprocess, sys, threading
import pytest
from lpcm import LPCM

users = LPCM("users")

@pytest.mark.parametrize("number", range(2))
def test_writes(number):
    assert users.get("k") != "real"
    users.set(f"here {number}", 1)
    thread = threading.Thread(target=users.set, args=(f"thread {number}", 1))
    thread.start()
    thread.join(30)
    asyncio.run(users.aset(f"task {number}", 1))
    fork = multiprocessing.get_context("fork").Process(target=users.set, args=(f"fork {number}", 1))
    fork.start()
    fork.join(30)
    assert fork.exitcode == 0
    code = "import sys; from lpcm import LPCM; LPCM('users')[sys.argv[1]] = 1"
    subprocess.run([sys.executable, "-c", code, f"process {number}"], check=True, timeout=60)
    kinds = ("here", "thread", "task", "fork", "process")
    assert set(users) >= {f"{kind} {number}" for kind in kinds}
    users.delete("k")
    print("NAMESPACE", os.environ["LPCM_NAMESPACE"])
"""


@pytest.fixture
def run_tests(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return what runs pytest, as a user would, on a file with these tests."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("LPCM", "PYTEST", "DJANGO"))}
    env["LPCM_URL"] = f"sqlite:///{tmp_path}/real.sqlite3"
    code = "from lpcm import LPCM; LPCM('users')['k'] = 'real'"
    subprocess.run([sys.executable, "-c", code], env=env, check=True, timeout=60)

    def run_tests(
        source: str, *arguments: str, ini: str = "", installed: bool = False
    ) -> subprocess.CompletedProcess[str]:
        loaded = () if installed else ("-p", "lpcm.testing.pytest_plugin", "-p", "xdist")
        env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "" if installed else "1"  # others take seconds
        (tmp_path / "test_it.py").write_text(source)
        (tmp_path / "pytest.ini").write_text(f"[pytest]\n{ini}\n")
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "-rP",
            *loaded,
            *arguments,
        ]
        return subprocess.run(
            command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=120
        )

    return run_tests


def rows(tmp_path: Path) -> set[tuple[str, str]]:
    """Return all that is in the real file."""
    with sqlite3.connect(f"file:{tmp_path}/real.sqlite3?mode=ro", uri=True) as database:
        return set(database.execute("SELECT pk, sk FROM entries"))


@pytest.mark.parametrize("store", ["scratch", "real"])
@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_a_run_leaves_real_rows_untouched(run_tests, tmp_path: Path, store: str, workers):
    """Writes of threads, tasks, forks, subprocesses and xdist workers stay in test namespaces."""
    before = rows(tmp_path)
    done = run_tests(WRITES_EVERYWHERE, *workers, ini=f"lpcm_store = {store}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
    lines = done.stdout.splitlines()
    names = {line.split()[1] for line in lines if line.startswith("NAMESPACE")}
    assert len(names) == (2 if workers else 1)
    assert rows(tmp_path) == before


def test_each_test_apart(run_tests):
    """With ``lpcm_insulate = test`` each test is undone; by fixture it has empty maps."""
    source = """
from lpcm import LPCM
def test_one(): assert LPCM("m").increment("k") == 1
def test_two(): assert LPCM("m").increment("k") == 1
"""
    assert run_tests(source, ini="lpcm_insulate = test").returncode == 0
    assert run_tests(source).returncode == 1
    by_fixture = source.replace("()", "(lpcm_namespace)")
    assert run_tests(by_fixture).returncode == 0


DJANGO = """
import pytest
from django.conf import settings
from django.test import TestCase
from lpcm import LPCM

users = LPCM("users")

@pytest.fixture(scope="module", autouse=True)
def shared():
    users["shared"] = 1

@pytest.fixture
def filled(shared):
    users["filled"] = 1
    yield
    del users["filled"]

def apart(*names):
    assert set(users) == {"shared", *names}
    users["k"] = 1

def test_one(): apart()
def test_two(): apart()
def test_three(filled, db): apart("filled")
def test_four(transactional_db, filled): apart("filled")
def test_five(client): apart()

class Case(TestCase):
    @classmethod
    def setUpTestData(cls):
        users["class"] = 1
    def test_one(self): apart("class")
    def test_two(self): apart("class")
    async def test_three(self): self.assertIsNone(await users.aget("k"))
"""


def test_each_test_is_undone_under_pytest_django(run_tests, tmp_path: Path):
    """In a Django project a test finds what fixtures and its class wrote, and no other test."""
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    (tmp_path / "its_settings.py").write_text(
        f"INSTALLED_APPS = ['lpcm']\nDATABASES = {{'default': {database}}}\n"
    )
    loaded = ("-p", "pytest_django.plugin")
    ini = "DJANGO_SETTINGS_MODULE = its_settings\npythonpath = .\n"
    before = rows(tmp_path)
    done = run_tests(DJANGO, *loaded, ini=ini)
    assert "8 passed" in done.stdout, done.stdout
    assert (
        "1 failed"
        in run_tests(
            "from lpcm import LPCM\n"
            "def test_one(): LPCM('users')['k'] = 1\n"
            "def test_two(): assert LPCM('users')['k'] == 1\n"
            "def test_three(): assert 'k' not in LPCM('users')\n",
            *loaded,
            ini=f"{ini}lpcm_insulate = run",
        ).stdout
    )
    assert rows(tmp_path) == before


def test_limits(run_tests):
    """``lpcm_max_reads`` and ``lpcm_max_writes`` fail for what is over, and name it."""
    source = """
from lpcm import LPCM
def test_enough(lpcm_max_reads, lpcm_max_writes):
    m = LPCM("m")
    with lpcm_max_reads(1), lpcm_max_writes(1):
        m["k"] = 1
        m["k"]
def test_too_many(lpcm_max_reads):
    with lpcm_max_reads(0):
        LPCM("m").get("some key")
"""
    done = run_tests(source)
    assert "1 failed, 1 passed" in done.stdout
    assert "AssertionError: 1 reads, where at most 0 were allowed" in done.stdout
    assert "read of m: 'some key'" in done.stdout


def test_off_is_off(run_tests, tmp_path: Path):
    """With ``lpcm_insulate = off`` a run uses what is configured; an unknown word is refused."""
    source = "from lpcm import LPCM\ndef test_it(): assert LPCM('users')['k'] == 'real'\n"
    assert run_tests(source, ini="lpcm_insulate = off").returncode == 0
    assert run_tests(source, ini="lpcm_insulate = on").returncode == pytest.ExitCode.USAGE_ERROR


def test_a_run_without_maps_pays_little(run_tests):
    """Installed is enough; where no test uses lpcm, nothing heavy or foreign is imported."""
    source = """
import sys
def test_it():
    heavy = {"sqlite3", "asyncio", "django", "lpcm.stores.sqlite.store", "lpcm.testing.limits"}
    assert {"lpcm", "lpcm.testing.pytest_plugin"} <= set(sys.modules)
    assert not heavy & set(sys.modules)
"""
    others = ("xdist", "timeout", "django", "hypothesispytest", "anyio", "cov", "langsmith_plugin")
    done = run_tests(source, *(f"-pno:{other}" for other in others), installed=True)
    assert done.returncode == 0, done.stdout


def test_a_case_of_unittest(run_tests):
    """``LPCMTestCase`` gives each of its tests empty maps and the same assertions."""
    source = """
from lpcm import LPCM
from lpcm.testing.cases import LPCMTestCase
class Mine(LPCMTestCase):
    def setUp(self):
        LPCM("m")["setup"] = 1
    def test_one(self):
        self.assertEqual(LPCM("m").increment("k"), 1)
    def test_two(self):
        self.assertEqual(LPCM("m").increment("k"), 1)
        with self.assertRaisesRegex(AssertionError, "1 writes"), self.assertMaxWrites(0):
            LPCM("m")["k"] = 1
        with self.assertMaxReads(1):
            self.assertEqual(LPCM("m").copy(), {"setup": 1, "k": 1})
"""
    assert "2 passed" in run_tests(source).stdout
