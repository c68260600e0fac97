"""Celery's soft time limits interrupt operations anywhere, and nothing acknowledged is lost."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import contextmanager

from lpcm import LPCM, Engine
from tests.applications.serving import ROOT, Serving, environment


@contextmanager
def worker(directory, url, namespace, processes, task, *calls):
    """Send a task once for each tuple of arguments, and run a Celery worker on them.

    Sent before the worker looks: the broker of files gives out a message half written.
    """
    for name in ("queue", "control"):
        (directory / name).mkdir()
    surroundings = environment(url, namespace) | {"CELERY_DIRECTORY": str(directory)}
    script = (
        "import json, sys; from tests.applications import tasks\n"
        "for call in json.loads(sys.argv[2]): getattr(tasks, sys.argv[1]).delay(*call)"
    )
    subprocess.run(
        [sys.executable, "-c", script, task, json.dumps(calls)],
        cwd=ROOT,
        env=surroundings,
        check=True,
        timeout=60,
    )
    log = directory / "worker.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "celery", "--app", "tests.applications.tasks", "worker",
                "--concurrency", str(processes), "--pool", "prefork", "--loglevel", "WARNING",
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


def notes(directory, names, seconds=60.0):
    """Return what each task has left, once all have."""
    deadline = time.monotonic() + seconds
    found = {}
    while missing := [name for name in names if name not in found]:
        assert time.monotonic() < deadline, f"no word of {missing}"
        time.sleep(0.02)
        for name in missing:
            note = directory / f"{name}.note"
            if note.exists() and (text := note.read_text()).endswith("\n"):
                found[name] = text.split()
    return found


def test_what_a_handler_writes_is_there_after_a_kill(tmp_path, namespace, request):
    """A write acknowledged after a soft time limit is in the file when the process is killed."""
    tasks = request.config.getoption("--application-tasks")
    urls = {f"t{number}": f"sqlite:///{tmp_path}/t{number}.sqlite3" for number in range(tasks)}
    with worker(tmp_path, "memory://", namespace, 8, "count_and_die", *urls.items()):
        told = notes(tmp_path, urls)
    lost = []
    for name, url in urls.items():
        engine = Engine.open(url, namespace=namespace)
        m = LPCM("counts", using=engine, live=False)
        done = int(told[name][0])
        if m.get("done") != done or m.get(name, 0) not in {done, done + 1}:
            lost.append((name, done, m.get("done"), m.get(name)))
        engine.close()
    assert lost == []
    assert sum(each[1] == "True" for each in told.values()) > tasks // 2


def settled(counts, stored, name, seconds=60.0):
    """Return a count once it is the same through the cache as in the store."""
    deadline = time.monotonic() + seconds  # a mark holds for ten
    while (found := counts.get(name, 0)) != stored.get(name, 0):
        assert time.monotonic() < deadline, f"{name}: the cache has {found} for good"
        time.sleep(0.1)
    return found


def test_interrupted_tasks_leave_a_clean_process(url, namespace, tmp_path):
    """After a soft time limit the same process reads its own writes, and others see them.

    Over a network the last increment, whose reply nobody waited for, may arrive after that reading.
    """
    late = {0} if url.startswith("sqlite:") else {0, 1}
    names = [f"t{number}" for number in range(12)]
    with worker(tmp_path, url, namespace, 4, "count_and_go_on", *([name] for name in names)):
        told = notes(tmp_path, names)
    engine = Engine.open(url, namespace=namespace)
    uncached = Engine.open(url, namespace=namespace, cache="none")
    counts, totals = (LPCM(name, using=engine, live=False) for name in ("counts", "totals"))
    stored = LPCM("counts", using=uncached, live=False)
    for name, (done, _, seen, _) in told.items():
        assert settled(counts, stored, name) - int(seen) in late
        assert int(seen) - int(done) in {0, 1}
        assert stored.get(name, 0) - int(done) in {0, 1}
        assert counts[f"{name} done"] == int(done)
    assert totals["tasks"] == len(names)
    assert sorted(int(each[3]) for each in told.values()) == list(range(1, len(names) + 1))
    assert sum(each[1] == "True" for each in told.values()) > len(names) // 2
    engine.close()
    uncached.close()
