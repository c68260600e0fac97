"""Celery's results and chords in a map: each chord's body runs once, with all of its header."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import contextmanager

from checks.clients import page
from lpcm import LPCM, Engine
from tests.applications.serving import ROOT, Serving, environment

CHORDS = 12
CLIENT = """
import json, sys
from celery import chain, chord, group
from tests.applications.results import app, double, fail, total

count = int(sys.argv[1])
chords = [chord(map(double.s, range(6)))(total.s(f"c{n}")) for n in range(count)]
steps = chain(double.s(1), group(double.s(), double.s()), total.s("chain"))()
broken = chord([double.s(1), fail.s(2)])(total.s("broken"))
print(json.dumps({
    "chords": [each.get(timeout=60, interval=0.02) for each in chords],
    "chain": steps.get(timeout=60, interval=0.02),
    "group": group(map(double.s, range(10)))().get(timeout=60, interval=0.02),
    "broken": type(broken.get(timeout=60, interval=0.02, propagate=False)).__name__,
}))
"""


@contextmanager
def worker(directory, surroundings):
    """Run a worker of four processes; end it, and show its log where the test fails."""
    log = directory / "worker.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "celery", "--app", "tests.applications.results", "worker",
                "--concurrency", "4", "--pool", "prefork", "--loglevel", "WARNING",
                "--without-gossip", "--without-mingle", "--without-heartbeat",
            ],
            cwd=directory,
            env=surroundings,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )  # fmt: skip
    serving = Serving(process, 0, log)
    try:
        yield
    except BaseException:
        serving.end()
        print(f"== log of celery\n{serving.log[-20_000:]}")
        raise
    assert serving.end(), serving.log


def test_chords(url, namespace, tmp_path):
    """Four processes finish chords, groups and chains; each body has run exactly once."""
    for name in ("queue", "control", "processed"):
        (tmp_path / name).mkdir()
    page.write_modules(tmp_path)
    surroundings = environment(url, namespace) | {"CELERY_DIRECTORY": str(tmp_path)}
    with worker(tmp_path, surroundings):
        client = subprocess.run(
            [sys.executable, "-c", CLIENT, str(CHORDS)],
            cwd=ROOT,
            env=surroundings,
            check=True,
            capture_output=True,
            text=True,
            timeout=120,
        )
    found = json.loads(client.stdout)
    assert found == {
        "chords": [2 * sum(range(6))] * CHORDS,
        "chain": 8,
        "group": [2 * number for number in range(10)],
        "broken": "ChordError",
    }
    engine = Engine.open(url, namespace=namespace)
    bodies = LPCM("bodies", using=engine, live=False).copy()
    assert bodies == {f"c{number}": 1 for number in range(CHORDS)} | {"chain": 1}
    assert not any("chord-unlock" in key for key in LPCM("celery", using=engine))
    engine.close()
