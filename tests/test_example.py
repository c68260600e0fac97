"""The demo, as ``make demo`` runs it, on a few files."""

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from checks import servers
from lpcm import LPCM, Engine
from tests.consistency.processes import until
from tests.dynamodb.tables import Table

DEMO = Path(__file__).parents[1] / "examples" / "count_identifiers.py"
SOURCE = {
    "a.py": "def double(number):\n    return number + number  # number\n",
    "b.py": "number = double('number')\n",
    "deep/c.py": "class Ä: pass\n",
    "broken.py": "def (((\n",
    "not.txt": "number number\n",
}


@pytest.fixture
def directory(tmp_path):
    """Return a directory of sources with six identifiers in them, three different."""
    for name, text in SOURCE.items():
        path = tmp_path / "sources" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path / "sources"


def demo(*arguments, cwd, **environment):
    """Run it as a program of its own."""
    return subprocess.run(
        [sys.executable, DEMO, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_demo_is_exact(directory, tmp_path):
    """The processes count each identifier once, and the last process confirms it."""
    done = demo(directory, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "exact: each of 3 counts, 7 together" in done.stdout
    assert [line.split() for line in done.stdout.splitlines()[-3:]] == [
        ["4", "number"],
        ["2", "double"],
        ["1", "Ä"],
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["sources"]


def test_the_demo_leaves_a_store_as_it_was(directory, tmp_path):
    """In the store of LPCM_URL it touches no map of the same name, and leaves none."""
    url = f"sqlite:///{tmp_path}/shop.sqlite3"
    engine = Engine.open(url)
    mine = LPCM("identifiers", using=engine)
    mine["number"] = 1000
    done = demo(directory, cwd=tmp_path, LPCM_URL=url)
    assert done.returncode == 0, done.stderr
    assert "shop.sqlite3" in done.stdout
    assert mine.copy() == {"number": 1000}
    engine.close()
    with closing(sqlite3.connect(tmp_path / "shop.sqlite3")) as file:
        assert file.execute("SELECT DISTINCT pk FROM entries ORDER BY pk").fetchall() == [
            (f"{engine.namespace}/",),  # its identity
            (f"{engine.namespace}/identifiers/",),
        ]
        assert file.execute("SELECT count(*) FROM maps").fetchone() == (1,)


@pytest.mark.parametrize("cached", [False, True], ids=["alone", "behind memcached"])
def test_the_demo_is_exact_on_dynamodb(directory, tmp_path, dynoxide, memcached, cached):
    """So it is on DynamoDB, with memcached in front too; and nothing is left there."""
    table = Table(dynoxide.endpoint, "demo")
    cache = f"&cache=memcached://{memcached.host}:{memcached.port}" if cached else ""
    done = demo(directory, cwd=tmp_path, LPCM_URL=table.url + cache)
    assert done.returncode == 0, done.stderr
    assert "exact: each of 3 counts, 7 together" in done.stdout
    assert table.items() == []
    table.close()


@pytest.mark.timeout(180)
def test_the_demo_is_exact_while_memcached_dies(tmp_path, dynoxide):
    """It is exact though memcached is killed in the middle of it, and comes back empty."""
    for number in range(60):
        path = tmp_path / "sources" / f"{number}.py"
        path.parent.mkdir(exist_ok=True)
        words = [f"only{number}", *(f"word{n % 7}" for n in range(39))]
        path.write_text("".join(f"{word} = 0\n" for word in words))
    table = Table(dynoxide.endpoint, "demo")
    with servers.memcached() as memcached:
        url = f"{table.url}&cache=memcached://{memcached.host}:{memcached.port}"
        process = subprocess.Popen(
            [sys.executable, DEMO, str(tmp_path / "sources")],
            cwd=tmp_path,
            env={**os.environ, "LPCM_URL": url},
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            for files_begun in (10, 30):
                until(lambda begun=files_begun: len(table.items()) > begun, timeout=60)
                assert process.poll() is None
                memcached.kill()
                time.sleep(0.2)
                memcached.start()
                time.sleep(0.3)
            output, _ = process.communicate(timeout=120)
        finally:
            process.kill()
            process.wait(timeout=20)
    assert process.returncode == 0, output
    assert "exact: each of 67 counts, 2,400 together" in output
    assert table.items() == []
    table.close()


def test_a_wrong_count_is_found(directory, tmp_path):
    """The comparison ends with 1 and names the word whose count is not Python's."""
    url = f"sqlite:///{tmp_path}/words.sqlite3"
    engine = Engine.open(url)
    LPCM("identifiers", using=engine).update(number=3, double=2, Ä=1)
    engine.close()
    done = demo(directory, "--compare", cwd=tmp_path, LPCM_URL=url)
    assert done.returncode == 1
    assert "number: 3 in the map, 3 read by itself, should be 4" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (["nowhere"], {}, "no such directory: nowhere"),
        (["."], {"LPCM_URL": "memory://"}, "memory of one process"),
        (["sources"], {"LPCM_URL": "redis://"}, "ConfigError: unknown scheme 'redis'"),
        (["sources/deep/.."], {"LPCM_URL": "sqlite:////nowhere/x"}, "there is no directory"),
    ],
)
def test_the_demo_says_what_is_wrong(directory, tmp_path, arguments, environment, words):
    """A bad argument or store is one line, no traceback."""
    done = demo(*arguments, cwd=tmp_path, **environment)
    assert done.returncode != 0
    assert words in done.stderr
    assert "Traceback" not in done.stderr
