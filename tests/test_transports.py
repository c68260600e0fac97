"""A transport of a loop that does not run is closed all the same."""

import asyncio
import gc
import socket
import ssl
import threading

import pytest
import trustme

from lpcm.system.transports import abort

LONG = 30


@pytest.fixture(scope="module")
def contexts():
    """Return a server's and a client's TLS contexts."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


class Listener:
    """A server that notes when its one client is gone."""

    def __init__(self, kind, directory, context):
        family = socket.AF_UNIX if kind == "unix" else socket.AF_INET
        self._socket = socket.socket(family)
        self._socket.settimeout(LONG)
        self._socket.bind(str(directory / "s") if kind == "unix" else ("127.0.0.1", 0))
        self._socket.listen()
        self.address = self._socket.getsockname()
        self._context = context if kind == "tls" else None
        self.gone = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        peer, _ = self._socket.accept()
        with peer:
            peer.settimeout(LONG)
            if self._context is not None:
                peer = self._context.wrap_socket(peer, server_side=True)
            with peer:
                try:
                    while peer.recv(100):
                        pass
                except OSError:
                    pass
        self.gone.set()

    def close(self):
        """End."""
        self._thread.join(LONG)
        self._socket.close()


@pytest.fixture(params=["tcp", "unix", "tls"])
def connected(request, tmp_path, contexts):
    """Yield a loop with a transport, its protocol, and who listens."""
    server, client = contexts
    listener = Listener(request.param, tmp_path, server)
    lost = []

    class Protocol(asyncio.Protocol):
        def connection_lost(self, exc):
            lost.append(exc)

    async def connect():
        running = asyncio.get_running_loop()
        if request.param == "unix":
            return (await running.create_unix_connection(Protocol, listener.address))[0]
        tls = {"ssl": client, "server_hostname": "localhost"} if request.param == "tls" else {}
        return (await running.create_connection(Protocol, *listener.address, **tls))[0]

    loop = asyncio.new_event_loop()
    yield loop, loop.run_until_complete(connect()), lost, listener
    loop.close()
    listener.close()
    gc.collect()  # what was left open warns, and here that is an error


def test_of_a_running_loop(connected):
    """The loop closes it, as ``Transport.abort`` says."""
    loop, transport, lost, listener = connected

    async def main():
        abort(transport)
        abort(transport)
        await asyncio.sleep(0.01)

    loop.run_until_complete(main())
    assert listener.gone.wait(LONG)
    assert lost == [None]


@pytest.mark.parametrize("unsent", [b"", b"x" * 20_000_000])
def test_of_a_closed_loop(connected, unsent):
    """It is closed at once, whatever it still had to send."""
    loop, transport, _, listener = connected
    transport.write(unsent)
    loop.close()
    abort(transport)
    assert listener.gone.wait(LONG)
    abort(transport)


def test_of_a_stopped_loop(connected):
    """It is closed at once, and the loop goes on without it, its descriptor being another's."""
    loop, transport, _, listener = connected
    transport.write(b"x" * 20_000_000)
    abort(transport)
    assert listener.gone.wait(LONG)
    assert transport.is_closing()

    async def main():
        ours, theirs = socket.socketpair()  # the same descriptor, probably
        reader, writer = await asyncio.open_connection(sock=ours)
        theirs.sendall(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.close()
        theirs.close()
        await writer.wait_closed()

    loop.run_until_complete(main())


def test_aborted_by_a_loop_that_was_closed_before_it_got_to_it(connected):
    """An abort that the loop never carried out is carried out."""
    loop, transport, _, listener = connected
    transport.abort()
    loop.close()
    abort(transport)
    assert listener.gone.wait(LONG)
