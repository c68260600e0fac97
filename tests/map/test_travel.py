"""Maps that travel: a pickle arrives at the store it came from, a copy is the same map."""

import copy
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import lpcm
from lpcm import (
    LPCM,
    ConfigError,
    Engine,
    Entry,
    Insulated,
    LPCMSet,
    PickleRefused,
    _engine,
    _travel,
)
from lpcm._address import Address
from lpcm._entry import MISSING
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
        cwd=directory, env=clean(), capture_output=True, text=True, timeout=120,
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
