"""gevent and eventlet: every limit holds for green threads too, whenever a program was patched."""

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from checks import servers
from tests.dynamodb.tables import Table
from tests.transport.canned import answer, canned

PROGRAM = Path(__file__).with_name("green.py")

pytestmark = [
    pytest.mark.parametrize("library", ["gevent", "eventlet"]),
    pytest.mark.parametrize("when", ["first", "late"]),
]


def green(library, when, *arguments):
    """Run a deed of green.py to its end."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", PROGRAM, library, when, *map(str, arguments)],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        text=True,
        timeout=60,
    )
    assert done.stdout == "well\n", done.stderr


@contextlib.contextmanager
def silent():
    """Run a server that accepts, reads nothing and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stop, accepted = threading.Event(), []

        def accept():
            while not stop.is_set():
                if select.select([listener], [], [], 0.05)[0]:
                    accepted.append(listener.accept()[0])

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            stop.set()
            thread.join(20)
            for each in accepted:
                each.close()


def test_a_stopped_memcached(library, when):
    """A memcached that hangs costs each operation its limit, and no other green thread anything."""
    with servers.memcached() as own:
        green(library, when, "stopped_memcached", f"localhost:{own.port}", own.pid)


def test_a_silent_endpoint(library, when, aws):
    """A DynamoDB that says nothing costs each request its limit: to connect, send, wait, queue."""
    with silent() as endpoint:
        green(library, when, "silent_endpoint", endpoint)


def test_a_map_on_a_silent_endpoint(library, when, aws):
    """A map's operation ends with its budget, and says that the store is not available."""
    with silent() as endpoint:
        green(library, when, "silent_store", "lpcm-table", endpoint)


def test_a_slow_resolver(library, when, aws):
    """A name that is not resolved costs a connection its limit, and other green threads nothing."""
    green(library, when, "slow_resolver")


def test_many_green_threads(library, when, dynoxide, memcached):
    """Thirty green threads on four connections count right and read what they wrote."""
    table = Table(dynoxide.endpoint, f"green-{library}-{when}")
    green(library, when, "many", table.url, f"{memcached.host}:{memcached.port}")
    table.close()


def test_a_boto3_client(library, when, aws):
    """Over a client of boto3 no green thread gets another one's reply."""

    def echo(peer):
        while (got := peer.request()) is not None:
            time.sleep(0.005)
            peer.say(answer(json.dumps({"Item": json.loads(got[1])["Key"]}).encode()))

    with canned(echo) as server:
        green(library, when, "one_client", server.endpoint)
