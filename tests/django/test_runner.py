"""Insulation under Django's own test runner, in whole runs of ``manage.py test``."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SETTINGS = """
SECRET_KEY = "x"
INSTALLED_APPS = ["lpcm", "shop"]
STATIC_URL = "static/"
DATABASES = {{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}}}
LPCM = {{
    "default": {{"STORE": "sqlite:///{path}/real.sqlite3", "TEST": {{{test}}}}},
    "other": {{"STORE": "sqlite:///{path}/other.sqlite3"}},
}}
"""
MANAGE = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "project_settings"
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""
TESTS = """
import asyncio, multiprocessing, os, subprocess, sys, threading
from django.test import SimpleTestCase
from lpcm import LPCM
from shop import users

class Kinds:
    def test_writes_everywhere(self):
        self.assertNotEqual(users.get("k"), "real")
        users["k"] = "test"
        LPCM("users", using="other")["k"] = "test"
        thread = threading.Thread(target=users.set, args=("thread", 1))
        thread.start()
        thread.join(30)
        asyncio.run(users.aset("task", 1))
        child = os.fork()
        if child == 0:
            users["fork"] = 1
            os._exit(0)
        os.waitpid(child, 0)
        code = "import django; django.setup(); from lpcm import LPCM; LPCM('users')['process'] = 1"
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
        self.assertLessEqual({"thread", "task", "fork", "process"}, set(users))
        print("NAMESPACE", os.environ["LPCM_NAMESPACE"], file=sys.stderr)

class One(Kinds, SimpleTestCase): pass
class Two(Kinds, SimpleTestCase): pass
"""
EACH = """
import os, sqlite3
from glob import glob
from urllib.request import urlopen
from django.http import HttpResponse
from django.test import (
    LiveServerTestCase, SimpleTestCase, TestCase, TransactionTestCase, override_settings
)
from django.urls import path
from lpcm import LPCM
from shop import users

hits = LPCM("hits", default=0, using="other")
urlpatterns = [path("count/", lambda request: HttpResponse(str(hits.increment("visits"))))]
users["of the run"] = 1

class Data:
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        users["class"] = cls.__name__

class Undone:
    def test_one(self): self.write()
    def test_two(self): self.write()
    async def test_three(self):
        self.assertIsNone(await users.aget("k"))
        await users.aset("k", 3)
    def write(self):
        self.assertEqual(dict(users), {"of the run": 1, "class": type(self).__name__})
        users.update({"k": 1, "class": "changed"})
        self.assertEqual(hits.increment("visits"), 1)

class Simple(Data, Undone, SimpleTestCase): pass
class Transaction(Data, Undone, TransactionTestCase): pass
class Database(Undone, TestCase):
    @classmethod
    def setUpTestData(cls):
        users["class"] = cls.__name__
@override_settings(ROOT_URLCONF="shop.tests")
class Served(Data, Undone, LiveServerTestCase):
    def test_four(self):
        for number in (b"1", b"2"):
            with urlopen(self.live_server_url + "/count/") as answer:
                self.assertEqual(answer.read(), number)
        self.assertEqual(hits["visits"], 2)
    test_five = test_four

def tearDownModule():
    own = os.environ["LPCM_NAMESPACE"]
    for name in glob(os.environ["LPCM_SCRATCH"] + "/*.sqlite3"):
        with sqlite3.connect(name) as database:
            left = {pk.partition("/")[0] for (pk,) in database.execute("SELECT pk FROM entries")}
        assert not {each for each in left - {own} if f"-{os.getpid()}-" in each}, left
"""
SEEN = """
from django.test import TestCase
from shop import users
class Seen(TestCase):
    def test_one(self): users["k"] = "test"
    def test_two(self): self.assertEqual(users["k"], "test")
"""
CASE = """
from django.test import SimpleTestCase
from lpcm import LPCM
from lpcm.django.test import LPCMMixin
LPCM("m")["k"] = 7
class Apart(LPCMMixin, SimpleTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        assert not LPCM("m")
        LPCM("m")["k"] = 1
    def setUp(self): self.assertEqual(LPCM("m").increment("k"), 2)
    def test_one(self): pass
    def test_two(self):
        with self.assertMaxReads(1):
            LPCM("m").get("k")
"""


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return what runs a program in a project with a real row."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/__init__.py").write_text("from lpcm import LPCM\nusers = LPCM('users')\n")
    (tmp_path / "manage.py").write_text(MANAGE)
    env = {k: v for k, v in os.environ.items() if not k.startswith(("LPCM", "PYTEST"))}
    env["DJANGO_SETTINGS_MODULE"] = "project_settings"

    def run(
        *command: str, tests: str = TESTS, store: str = "scratch", insulate: str = "test"
    ) -> subprocess.CompletedProcess[str]:
        test = f"'STORE': {store!r}, 'INSULATE': {insulate!r}"
        settings = SETTINGS.format(path=tmp_path, test=test)
        (tmp_path / "project_settings.py").write_text(settings)
        (tmp_path / "shop/tests.py").write_text(tests)
        return subprocess.run(
            [sys.executable, *command], cwd=tmp_path, env=env, capture_output=True, text=True,
            check=False, timeout=120,
        )  # fmt: skip

    code = (
        "import django; django.setup(); from lpcm import LPCM; LPCM('users')['k'] = 'real';"
        "LPCM('users', using='other')['k'] = 'real'"
    )
    done = run("-c", code)
    assert done.returncode == 0, done.stderr
    return run


def rows(tmp_path: Path) -> list[tuple[str, str, object]]:
    """Return all that is in the maps of both real files."""
    found = []
    for name in ("real", "other"):
        with sqlite3.connect(f"file:{tmp_path}/{name}.sqlite3?mode=ro", uri=True) as database:
            found += database.execute(
                "SELECT pk, sk, v FROM entries WHERE pk LIKE '%/%/'"
            ).fetchall()
    return found


@pytest.mark.parametrize("arguments", [(), ("--parallel", "2")])
@pytest.mark.parametrize("store", ["scratch", "real"])
def test_a_run_leaves_real_rows_untouched(
    project, tmp_path: Path, arguments: tuple[str, ...], store: str
):
    """Whatever tests start writes to the run's namespace, or the worker's; nothing is left."""
    before = rows(tmp_path)
    done = project("manage.py", "test", *arguments, store=store, insulate="run")
    assert done.returncode == 0, done.stderr
    names = re.findall(r"NAMESPACE (test-\S+)", done.stderr)
    assert len(names) == 2, done.stderr
    own = [re.fullmatch(r"test-main-\d+-[0-9a-f]{8}(-[12])?", name) for name in names]
    assert all(match and (match[1] is not None) == bool(arguments) for match in own), names
    assert rows(tmp_path) == before


def test_a_script_that_runs_the_runner(project, tmp_path: Path):
    """A script of the project's own, importing Django's test tools first, is insulated too."""
    script = (
        "import django\n"
        "from django.conf import settings\n"
        "from django.test.runner import DiscoverRunner\n"
        "django.setup()\n"
        "failures = DiscoverRunner().run_tests(['shop'])\n"
        "from lpcm import LPCM, Insulated\n"
        "try: LPCM('users')['k'] = 'late'\n"
        "except Insulated: print('refused')\n"
        "raise SystemExit(failures)\n"
    )
    before = rows(tmp_path)
    done = project("-c", script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "refused"
    assert rows(tmp_path) == before


@pytest.mark.parametrize(
    ("store", "arguments"), [("scratch", ()), ("real", ()), ("scratch", ("--parallel", "2"))]
)
def test_each_test_is_undone(project, tmp_path: Path, arguments: tuple[str, ...], store: str):
    """A test of any of Django's classes finds what its class wrote, and nothing of another test."""
    before = rows(tmp_path)
    tests = EACH if store == "scratch" else EACH.partition("def tearDownModule")[0]
    done = project("manage.py", "test", *arguments, tests=tests, store=store)
    assert done.returncode == 0, done.stderr
    assert "Ran 14 tests" in done.stderr
    assert rows(tmp_path) == before


def test_tests_are_not_undone_where_the_settings_say_so(project):
    """With ``TEST["INSULATE"]`` a test finds what the one before it wrote."""
    done = project("manage.py", "test", tests=SEEN, insulate="run")
    assert done.returncode == 0, done.stderr
    done = project("manage.py", "test", tests=SEEN)
    assert "KeyError" in done.stderr


def test_each_test_of_a_case_apart(project):
    """``LPCMMixin`` gives each test of a Django case what its class wrote, and nothing else."""
    done = project("manage.py", "test", tests=CASE)
    assert done.returncode == 0, done.stderr
    assert "Ran 2 tests" in done.stderr


def test_a_server_is_not_touched(project, tmp_path: Path):
    """Outside tests nothing of Django's test tools is imported, and rows are the real ones."""
    code = (
        "import sys, django; django.setup(); from shop import users; users['new'] = 1;"
        "assert users['k'] == 'real'; assert 'django.test' not in sys.modules;"
        "assert 'lpcm.testing.limits' not in sys.modules"
    )
    done = project("-c", code)
    assert done.returncode == 0, done.stderr
    assert len(rows(tmp_path)) == 3
