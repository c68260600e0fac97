"""A memcached, or what stands in its place, that says too much, or says it drop by drop."""

from __future__ import annotations

import socket
import threading
import time
import tracemalloc
from contextlib import contextmanager, suppress

import pytest

from lpcm.caches.memcached import pool, stream
from lpcm.caches.memcached.meta import MAX_DATA, OutOfStep, Parser, bases, server_checked
from lpcm.ports import CacheLost, Get, Packet, Set
from tests.caches.drivers import awaitable, blocking

CLIENTS = pytest.mark.parametrize("client", [blocking, awaitable])
QUICK = {"timeout": 0.3, "connect_timeout": 0.5}
LONG = 5.0
"""Seconds that a server's reply in small pieces goes on for."""
GREETING = b"VERSION 1.6.18\r\nSTAT cas_enabled yes\r\nSTAT item_size_max 1048576\r\nEND\r\n"


@contextmanager
def hostile(answer, greet=lambda peer: peer.sendall(GREETING)):
    """Run a server that answers the first command after the greeting with ``answer(socket)``."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    over = threading.Event()

    def serve():
        with suppress(OSError):
            while not over.is_set():
                peer, _ = listener.accept()
                peer.settimeout(10)
                with peer, suppress(OSError):
                    seen = b""
                    while not seen.endswith(b"stats settings\r\n"):
                        seen += peer.recv(1000)
                    greet(peer)
                    if peer.recv(1 << 16):
                        answer(peer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        over.set()
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(20)
        assert not thread.is_alive()


def drops(data, each=0.05, count=int(LONG / 0.05)):
    """Say one byte after the other, for much longer than any time limit here."""

    def say(peer):
        for at in range(count):
            peer.sendall(data[at : at + 1] or b"x")
            time.sleep(each)

    return say


def lines(peer):
    """Answer every 50 ms to one of many commands."""
    for _ in range(int(LONG / 0.05)):
        peer.sendall(b"HD c1\r\n")
        time.sleep(0.05)


@CLIENTS
@pytest.mark.parametrize(
    ("answer", "commands"),
    [
        (drops(b"VA 1000 f1000 c1 t-1\r\n"), (Get(),)),
        (lines, (Set(b"x" * 100, 100, 60),) * 90),
    ],
    ids=["one reply", "many replies"],
)
def test_an_operation_has_one_time_limit(client, answer, commands):
    """However a reply is cut into pieces, all of an operation ends within a few times its limit."""
    with hostile(answer) as address, client(address, **QUICK) as driven:
        begun = time.monotonic()
        with pytest.raises(CacheLost):
            driven.send("k", *commands)
        assert time.monotonic() - begun < LONG / 2


@CLIENTS
def test_a_server_that_takes_in_drops(client, monkeypatch):
    """A server that reads a request little by little has no more time than one that answers so."""
    for module in (pool, stream):  # or the bytes themselves would give it time
        monkeypatch.setattr(module, "PACE", 100_000_000)

    def sip(peer):
        for _ in range(35):
            if not peer.recv(4000):
                return
            time.sleep(0.1)

    packets = [Packet("k", (Set(b"x" * 900_000, 900_000, 60),)) for _ in range(8)]
    with hostile(sip) as address, client(address, **QUICK) as driven:
        begun = time.monotonic()
        answers = driven.run(driven.cache.send_many(packets))
        assert isinstance(answers[-1], CacheLost)
        assert time.monotonic() - begun < 3


@CLIENTS
@pytest.mark.parametrize(
    "greet",
    [drops(b""), lambda peer: [peer.sendall(b"STAT x y\r\n" * 6000) for _ in range(200)]],
    ids=["drops", "flood"],
)
def test_a_greeting_ends(client, greet):
    """A greeting has one time limit and 64 KiB."""
    with hostile(lambda _: None, greet) as address, client(address, **QUICK) as driven:
        begun = time.monotonic()
        with pytest.raises(CacheLost):
            driven.send("k", Get())
        assert time.monotonic() - begun < LONG / 2


@CLIENTS
@pytest.mark.parametrize("size", [1_048_577, MAX_DATA, 2_147_483_647, 10**30])
def test_a_false_length_is_not_waited_for(client, size):
    """A value longer than the server's largest item is refused by its first line."""

    def answer(peer):
        peer.sendall(b"VA %d f%d c1 t-1\r\n" % (size, size))
        with suppress(OSError):
            for _ in range(64):
                peer.sendall(rest)

    rest = bytes(1 << 20)
    with hostile(answer) as address, client(address, **QUICK) as driven:
        tracemalloc.start()
        try:
            with pytest.raises(CacheLost):
                driven.look("k")
            answers = driven.run(driven.cache.look_many(["a", "b"], 10))
            assert all(isinstance(each, CacheLost) for each in answers)
            assert tracemalloc.get_traced_memory()[1] < 8_000_000
        finally:
            tracemalloc.stop()


def test_the_parser_holds_no_more_than_came():
    """A length that is announced reserves nothing; over the limit it is refused."""
    parser = Parser(1 << 20)
    with pytest.raises(OutOfStep):
        parser.feed(b"VA 1048577 f1 c1 t-1\r\n")
    with pytest.raises(OutOfStep):
        bases(b"VA 1048577 f1 c1 t-1\r\nx", 1, 1 << 20)


@pytest.mark.parametrize("line", [b"VA 3 f-1 c1 t-1\r\nabc\r\n", b"HD s3 f-1 c1 t-1\r\n"])
def test_a_base_below_zero_is_none(line):
    """Client flags that nobody could have set name no base."""
    (found,) = Parser().feed(line)
    assert found.base == 0


def test_a_greeting_of_absurd_numbers_is_understood():
    """Numbers of any length in a greeting are numbers."""
    head = b"VERSION 1.6.%b\r\nSTAT cas_enabled yes\r\n" % (b"9" * 5000)
    assert server_checked(head + b"STAT item_size_max %b\r\nEND\r\n" % (b"9" * 5000)) == MAX_DATA
