"""Application servers as their users start them, each on a port of its own.

Knows how to start, find ready, hurt and end a server. It leaves no process: a server leads a
process group, and the whole group is ended.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
START = 60.0
"""Seconds a server may take until it answers, on a busy machine."""
END = 20.0
"""Seconds it may take to end once it is asked to."""

UWSGI = (
    BIN / "uwsgi", "--http-socket", "127.0.0.1:{port}", "--module", "tests.applications.app",
    "--master", "--need-app", "--die-on-term", "--disable-logging",
    "--add-header", "Connection: close",  # it closes, and says so only where it is told to
)  # fmt: skip
GUNICORN = (
    BIN / "gunicorn", "tests.applications.app:application", "--bind", "127.0.0.1:{port}",
    "--log-level", "warning", "--no-control-socket",
)  # fmt: skip
SERVERS = {
    # The default: the master imports the application and forks in C, so no hook of Python runs.
    "uwsgi": (*UWSGI, "--processes", "4"),
    "uwsgi lazy": (*UWSGI, "--processes", "2", "--lazy-apps"),
    "uwsgi threads": (*UWSGI, "--processes", "2", "--enable-threads", "--threads", "4"),
    "gunicorn sync": (*GUNICORN, "--workers", "2"),
    "gunicorn preload": (*GUNICORN, "--workers", "4", "--preload"),
    "gunicorn gthread": (
        *GUNICORN, "--workers", "2", "--worker-class", "gthread", "--threads", "4",
    ),
    "gunicorn gevent": (*GUNICORN, "--workers", "2", "--worker-class", "gevent"),
    "eventlet": (sys.executable, "-m", "tests.applications.eventlet_server", "{port}"),
    "uvicorn": (
        sys.executable, "-m", "uvicorn", "tests.applications.app:asgi", "--port", "{port}",
        "--workers", "2", "--log-level", "warning",
    ),
}  # fmt: skip
IMPORTS = dict.fromkeys(
    ("uwsgi lazy", "gunicorn sync", "gunicorn gthread", "gunicorn gevent", "uvicorn"), 2
)
"""How often a server imports the application, once where it is not named here."""
COMPLAINTS = ("Traceback", "Exception ignored", "never awaited", "ResourceWarning", "Segmentation")
"""What the log of a server that was not hurt must not contain."""


class Serving:
    """A server that runs."""

    def __init__(self, process, port, log):
        self.process = process
        self.port = port
        self._log = log

    @property
    def log(self):
        """What it and its workers have printed."""
        return self._log.read_text(errors="replace")

    def ask(self, path, timeout=10.0):
        """Return what the server answers on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def answers(self):
        """Tell whether a worker is there that answers."""
        try:
            return self.ask("/ready/test/0", timeout=5.0)["status"] == 200
        except (OSError, http.client.HTTPException, ValueError):
            return False

    def imported(self, times):
        """Wait until it has imported the application so often; tell whether it has."""
        deadline = time.monotonic() + START
        while self.log.count("imported\n") < times:
            if self.process.poll() is not None or time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def complaints(self):
        """Return what its log must not contain and does, and the log."""
        log = self.log
        found = [word for word in COMPLAINTS if word in log]
        return found and [*found, log]

    def end(self):
        """Ask it to end, and see that nothing of it is left; tell whether it obeyed."""
        obeyed = True
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(END)
            except subprocess.TimeoutExpired:
                obeyed = False
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(END)
        return obeyed


def environment(url, namespace):
    """Return what a server is to find in its environment: where the maps live."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("LPCM_")}
    return kept | {"LPCM_URL": url, "LPCM_NAMESPACE": namespace, "PYTHONPATH": str(ROOT)}


def started(server, directory, surroundings):
    """Start a server on a free port; on another one where somebody else was quicker."""
    for attempt in range(3):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        log = directory / f"server-{attempt}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [str(part).format(port=port) for part in SERVERS[server]],
                cwd=directory,
                env=surroundings,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        serving = Serving(process, port, log)
        deadline = time.monotonic() + START
        while process.poll() is None and time.monotonic() < deadline:
            if serving.answers():
                return serving
            time.sleep(0.05)
        serving.end()
        if "in use" not in serving.log:
            break
    raise AssertionError(f"{server} does not start:\n{serving.log}")


@contextmanager
def running(server, directory, url, namespace, *, warm=True):
    """Run a server; print its log where the test fails. ``warm``: it uses its maps at once."""
    surroundings = environment(url, namespace)
    if warm:
        surroundings["APPLICATION_IS_SERVED"] = "1"
    serving = started(server, directory, surroundings)
    try:
        yield serving
        # A worker that is ended while it imports says so with a traceback, and rightly.
        assert not warm or serving.imported(IMPORTS.get(server, 1)), f"{server} is not all there"
    except BaseException:
        serving.end()
        print(f"== log of {server}\n{serving.log[-20_000:]}")
        raise
    assert serving.end(), f"{server} does not end:\n{serving.log}"
