"""A server that answers as DynamoDB does, always the same: ``canned_dynamodb.py FILE [PEM]``.

Run as a process of its own, so that what a client costs is not mixed with it. ``FILE`` is
JSON: bodies by operation, with "GetItem" for keys that begin with "user/" and "catalogue" for
other reads. ``PEM`` is a certificate with its key, for TLS. Prints its port, and ends with its
standard input.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import sys
import threading
import zlib
from pathlib import Path


def reply(body: bytes) -> bytes:
    """Return a reply with the headers that AWS gives it."""
    return (
        b"HTTP/1.1 200 OK\r\nServer: Server\r\nDate: Wed, 25 Nov 2026 04:00:00 GMT\r\n"
        b"Content-Type: application/x-amz-json-1.0\r\nContent-Length: %d\r\n"
        b"Connection: keep-alive\r\n"
        b"x-amzn-RequestId: ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEFGHIJKLMNOPQRST\r\n"
        b"x-amz-crc32: %d\r\n\r\n%b" % (len(body), zlib.crc32(body), body)
    )


def serve(connection: socket.socket, replies: dict[bytes, bytes]) -> None:
    """Answer until the client leaves."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while data := connection.recv(65536):
        while b"\r\n\r\n" not in data:
            data += connection.recv(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        lower = head.lower()
        length = int(lower.split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0])
        while len(body) < length:
            body += connection.recv(65536)
        start = head.index(b"DynamoDB_20120810.") + 18
        operation = head[start : head.index(b"\r\n", start)]
        if operation == b"GetItem" and b"user/" not in body:
            operation = b"catalogue"
        connection.sendall(replies[operation])


def main() -> None:
    bodies = json.loads(Path(sys.argv[1]).read_text())
    replies = {name.encode(): reply(body.encode()) for name, body in bodies.items()}
    listening = socket.create_server(("127.0.0.1", 0))
    if len(sys.argv) > 2:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[2])
        listening = context.wrap_socket(listening, server_side=True)
    print(listening.getsockname()[1], flush=True)

    def accept() -> None:
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=serve, args=(connection, replies), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
