"""A relative path names one file for the life of a process, wherever the program goes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lpcm import ConfigError
from lpcm.engine import config

MAPS = {
    "the default": ({}, 'm = LPCM("m")'),
    "LPCM_URL": ({"LPCM_URL": "sqlite:///lpcm.sqlite3"}, 'm = LPCM("m")'),
    "a URL": ({}, 'm = LPCM("m", url="sqlite:///lpcm.sqlite3")'),
    "an alias": ({}, 'lpcm.configure("sqlite:///lpcm.sqlite3"); m = LPCM("m")'),
    "an engine": ({}, 'm = LPCM("m", using=lpcm.Engine.open("sqlite:///lpcm.sqlite3"))'),
}


def run_in(directory, program, **environment):
    """Run a program in the directory and return what it prints."""
    known = {k: v for k, v in os.environ.items() if not k.startswith("LPCM_")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=directory,
        env=known | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("how", MAPS)
def test_a_map_in_use_stays_with_its_file(tmp_path, how):
    """After ``os.chdir`` a map is in the same file, whatever makes it look for it again."""
    environment, made = MAPS[how]
    (tmp_path / "elsewhere").mkdir()
    close = "" if "using" in made else "lpcm.close()"
    found = run_in(
        tmp_path,
        f"""
import os, lpcm
from lpcm import LPCM
{made}
m["k"] = 1
os.chdir("elsewhere")
lpcm.configure("memory://", using="other")
m["l"] = 2
{close}
m["m"] = 3
print(*m, os.path.exists("lpcm.sqlite3"))
""",
        **environment,
    )
    assert found == ["k", "l", "m", "False"]
    assert (tmp_path / "lpcm.sqlite3").is_file()


def test_another_map_of_the_path_is_in_the_same_file(tmp_path):
    """A map made after ``os.chdir`` is in the file that the path named before it."""
    (tmp_path / "elsewhere").mkdir()
    found = run_in(
        tmp_path,
        """
import os, lpcm
from lpcm import LPCM
lpcm.configure("sqlite:///lpcm.sqlite3")
LPCM("m")["k"] = 1
os.chdir("elsewhere")
print(LPCM("m", url="sqlite:///lpcm.sqlite3").get("k"), os.path.exists("lpcm.sqlite3"))
lpcm.configure("sqlite:///lpcm.sqlite3")
print(LPCM("m").get("k"), os.path.exists("lpcm.sqlite3"))
""",
    )
    assert found == ["1", "False", "None", "True"]


def test_a_fork_stays_with_the_file_of_its_parent(tmp_path):
    """A forked child that changes its directory is where its parent is."""
    (tmp_path / "elsewhere").mkdir()
    found = run_in(
        tmp_path,
        """
import os, lpcm
from lpcm import LPCM
m = LPCM("m")
m["k"] = 1
if not (pid := os.fork()):
    os.chdir("elsewhere")
    lpcm.close()
    m["l"] = 2
    os._exit(0)
os.waitpid(pid, 0)
print(*m)
""",
    )
    assert found == ["k", "l"]


def test_a_missing_working_directory_is_named(tmp_path, monkeypatch):
    """A relative path in a directory that was removed is a ConfigError."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    Path(gone).rmdir()
    with pytest.raises(ConfigError, match="working directory"):
        config.parse("sqlite:///lpcm.sqlite3")
    assert config.parse("sqlite:////tmp/lpcm.sqlite3").path == "/tmp/lpcm.sqlite3"
