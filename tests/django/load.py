"""Load on the example project: blocking views under threads, awaiting ones under ASGI.

``python -m tests.django.load [SECONDS]`` (``make django-load``) prints a table of latencies.
Each client has keys of its own that it counts up, and one is everybody's. Every reply must be
its own next number: no error, no count lost, nobody's answer to anybody else.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

SITE = Path(__file__).parents[2] / "examples" / "django_site"
CLIENTS = 8
SERVERS = {
    "blocking, threads": ("-m", "django", "runserver", "--noreload", "{port}"),
    "awaiting, uvicorn": (
        "-m", "uvicorn", "shop.asgi:application", "--port", "{port}", "--log-level", "error",
    ),
}  # fmt: skip


@contextmanager
def serving(name, data, store=""):
    """Run the project under one of the servers; yield its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("LPCM_", "DJANGO_SETTINGS"))
    }
    environment |= {
        "SHOP_DATA": str(data),
        "SHOP_DEBUG": "0",
        "PYTHONPATH": str(SITE),
        "DJANGO_SETTINGS_MODULE": "shop.settings",
        **({"SHOP_STORE": store} if store else {}),
    }
    command = [part.format(port=port) for part in SERVERS[name]]
    with (Path(data) / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=SITE, env=environment, stdout=log, stderr=log
        )
        try:
            deadline = time.monotonic() + 60
            while process.poll() is None and time.monotonic() < deadline:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.05)
            assert process.poll() is None, (Path(data) / "log").read_text()
            yield port
        finally:
            process.kill()
            process.wait(20)


class Client(threading.Thread):
    """One visitor, with a session of its own, who counts."""

    def __init__(self, number, port, path, until):
        super().__init__()
        self.name = f"c{number}"
        self.path = path
        self.until = until
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.cookie = ""
        self.times = []
        self.wrong = []

    def run(self):
        """Ask until the time is over."""
        count = 0
        while time.monotonic() < self.until:
            began = time.perf_counter()
            status, body = self.ask(f"/{self.path}/{self.name}/")
            self.times.append(time.perf_counter() - began)
            count += 1
            if status != 200 or self.number(body) != count:
                self.wrong.append((count, status, body[:200]))
                return
        self.connection.close()

    def ask(self, path):
        """Return a reply's status and body."""
        headers = {"Cookie": self.cookie} if self.cookie else {}
        self.connection.request("GET", path, headers=headers)
        reply = self.connection.getresponse()
        if cookie := reply.getheader("Set-Cookie"):
            self.cookie = cookie.partition(";")[0]
        return reply.status, reply.read().decode()

    def number(self, body):
        """Return this client's own number in a reply."""
        if self.path == "async":
            told = json.loads(body)
            return told["number"] if told["name"] == self.name else None
        found = re.search(r"picked (\d+) . (\w+)\.", body)
        return int(found[1]) if found and found[2] == self.name else None


def load(name, seconds, store=""):
    """Load one of the servers; return the times of all replies."""
    path = "async" if name.startswith("awaiting") else "fruit"
    with tempfile.TemporaryDirectory() as data, serving(name, data, store) as port:
        until = time.monotonic() + seconds
        clients = [Client(number, port, path, until) for number in range(CLIENTS)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        wrong = [each for client in clients for each in client.wrong]
        assert not wrong, wrong[:3]
        return [each for client in clients for each in client.times]


def main(seconds):
    """Print a table."""
    print(
        f"{'':20}{'requests':>10}{'a second':>10}{'median':>10}{'95 %':>10}{'99 %':>10}{'most':>10}"
    )
    for name in SERVERS:
        times = sorted(load(name, seconds))
        marks = statistics.quantiles(times, n=100)
        shown = [1000 * each for each in (marks[49], marks[94], marks[98], times[-1])]
        cells = "".join(f"{each:7.1f} ms" for each in shown)
        print(f"{name:20}{len(times):10,}{len(times) / seconds:10,.0f}{cells}", flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 30.0)
