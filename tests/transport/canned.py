"""A server that says what a test tells it to, as bytes, and counts what it was asked."""

import gzip
import re
import socket
import struct
import threading
import zlib
from contextlib import contextmanager, suppress


def answer(body=b'{"Item": {}}', status="200 OK", headers=()):
    """Return a reply with its length and checksum, as DynamoDB gives them."""
    lines = [
        f"HTTP/1.1 {status}",
        "Server: canned",
        "Content-Type: application/x-amz-json-1.0",
        f"Content-Length: {len(body)}",
        f"x-amz-crc32: {zlib.crc32(body)}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def gzipped(body):
    """Return it compressed; the checksum is that of what travels."""
    return answer(gzip.compress(body), headers=["Content-Encoding: gzip"])


def chunked(body, size=7, headers=()):
    """Return it in chunks."""
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    head = ["HTTP/1.1 200 OK", "Transfer-Encoding: chunked", *headers]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return "\r\n".join(head).encode() + b"\r\n\r\n" + chunks + b"0\r\n\r\n"


class Peer:
    """One accepted connection."""

    def __init__(self, server, sock, number):
        self._server = server
        self.sock = sock
        self.number = number
        """0 for the first that was accepted."""

    def request(self):
        """Read one request and return its head and body; None at the end."""
        data = b""
        while b"\r\n\r\n" not in data:
            received = self.sock.recv(1 << 20)
            if not received:
                return None
            self._server.first_reads.append(len(received))
            data += received
        head, _, body = data.partition(b"\r\n\r\n")
        length = int((re.search(rb"content-length: *(\d+)", head.lower()) or [0, 0])[1])
        while len(body) < length:
            body += self.sock.recv(1 << 20)
        self._server.requests.append((self.number, head, body))
        return head, body

    def say(self, data):
        self.sock.sendall(data)

    def serve(self, *replies):
        """Give one reply to each request, then go on reading."""
        for reply in replies:
            if self.request() is None:
                return
            self.say(reply)
        self.request()

    def serve_all(self, reply=None):
        while self.request() is not None:
            self.say(reply or answer())

    def reset(self):
        """Close with a RST instead of a FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class Canned:
    def __init__(self, script, context=None):
        self.requests = []
        """(number of the connection, head, body) of each."""
        self.first_reads = []
        self.accepted = 0
        self.changed = threading.Condition()
        self._script = script
        self._context = context
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._socks = []
        self._threads = [threading.Thread(target=self._accept)]
        self.port = self._listening.getsockname()[1]
        self.endpoint = f"http{'s' if context else ''}://127.0.0.1:{self.port}"
        self._threads[0].start()

    def _accept(self):
        with suppress(OSError):
            while True:
                sock, _ = self._listening.accept()
                sock.settimeout(20)
                self._socks.append(sock)
                thread = threading.Thread(target=self._run, args=(sock, self.accepted))
                self.accepted += 1
                self._threads.append(thread)
                thread.start()

    def _run(self, sock, number):
        with suppress(OSError):
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True)
                self._socks.append(sock)
            try:
                self._script(Peer(self, sock, number))
            finally:
                sock.close()

    def close(self):
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._threads[0].join(20)
        for sock in self._socks:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()


@contextmanager
def canned(script, context=None):
    """Run a server whose every connection is handled by ``script(peer)``."""
    server = Canned(script, context)
    try:
        yield server
    finally:
        server.close()
