"""The servers that other tests stand on start, can be hurt, and leave nothing behind."""

import os
import socket

import pytest

from checks import servers


def says(server, request, size=4096):
    """Return what a server answers to a few bytes."""
    with socket.create_connection((server.host, server.port), timeout=20) as connection:
        connection.settimeout(20)
        connection.sendall(request)
        return connection.recv(size)


def test_memcached_can_be_killed_and_restarted():
    """A restarted memcached is at the same port, another process, and empty."""
    with servers.memcached() as server:
        assert says(server, b"ms k 1\r\nx\r\n") == b"HD\r\n"
        before = server.port, server.pid
        server.restart()
        assert server.port == before[0]
        assert server.pid != before[1]
        assert says(server, b"mg k v\r\n") == b"EN\r\n"


def test_a_stopped_server_answers_when_it_goes_on():
    """SIGSTOP holds a request, SIGCONT lets it be answered."""
    with (
        servers.memcached() as server,
        socket.create_connection((server.host, server.port)) as connection,
    ):
        server.stop()
        connection.sendall(b"mn\r\n")
        connection.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.recv(16)
        server.cont()
        connection.settimeout(20)
        assert connection.recv(16) == b"MN\r\n"


@pytest.mark.parametrize("engine", [servers.dynoxide, servers.extenddb])
def test_an_engine_answers(engine):
    """Both DynamoDB engines start and speak HTTP; afterwards their process is gone."""
    with engine() as server:
        pid = server.pid
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
        assert says(server, head).startswith(b"HTTP/1.1 ")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_missing_server_is_an_error(monkeypatch, tmp_path):
    """A server that is nowhere to be found is an error that says what to do, not a skip."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("LPCM_MEMCACHED", raising=False)
    with pytest.raises(servers.Missing, match="make servers"), servers.memcached():
        pass
