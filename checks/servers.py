"""Real servers for tests: memcached, and engines that speak DynamoDB, on free loopback ports.

Each is a context manager that yields a running ``Server`` and ends the process by its pid. Where a
server is not installed, ``Missing`` is raised: an error and never a skip. A binary is looked
for in the environment (``LPCM_MEMCACHED``, ``LPCM_DYNOXIDE``, ``LPCM_EXTENDDB``), in the
working directory's ``.engines`` (where this project's own tests install theirs) and on the PATH.

Engines differ in parts of what DynamoDB does; a behaviour counts where two of them agree.
They hold their data in memory, so a killed engine has forgotten everything.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

__all__ = ["AWS", "Missing", "Server", "dynalite", "dynoxide", "extenddb", "memcached"]

HOST = "127.0.0.1"
START = 20.0
"""Seconds a server may take until it answers, on a busy machine."""

AWS: Mapping[str, str] = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""An environment in which these engines accept requests; the keys are AWS's own example."""


class Missing(RuntimeError):
    """A server was asked for and is not installed."""


class Server:
    """A server process that can be killed, paused and restarted.

    ``command`` gets the port and returns the program and its arguments. The port stays the
    same over restarts.
    """

    host = HOST

    def __init__(
        self,
        command: Callable[[int], Sequence[str | Path]],
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._command = command
        self._env = env
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def endpoint(self) -> str:
        """Its address as an HTTP URL."""
        return f"http://{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        """The id of the process that runs, or ran last."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the process and wait until it accepts connections.

        A free port is chosen the first time; if another process takes that port first, another
        port is chosen.
        """
        for attempt in range(5):
            port = self.port or _free_port()
            if self._try(port):
                self.port = port
                return
            if self.port and attempt:
                time.sleep(0.1)
        raise RuntimeError(f"{self!r} does not start: {' '.join(map(str, self._command(0)))}")

    def _try(self, port: int) -> bool:
        env = None if self._env is None else {**os.environ, **self._env}
        self._process = process = subprocess.Popen(  # noqa: S603  # the tests' own servers
            [str(part) for part in self._command(port)],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START
        while process.poll() is None and time.monotonic() < deadline:
            try:
                with socket.create_connection((self.host, port), timeout=1):
                    return True
            except OSError:
                time.sleep(0.005)
        self.kill()
        return False

    def kill(self) -> None:
        """Send SIGKILL; the data of the server are gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=20)

    def restart(self) -> None:
        """Kill the process and start it again on the same port, empty."""
        self.kill()
        self.start()

    def stop(self) -> None:
        """Send SIGSTOP: connections stay open, and no request is answered."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitpid(self.pid, os.WUNTRACED)  # the process stops some time after the signal is sent

    def cont(self) -> None:
        """Send SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def __repr__(self) -> str:
        return f"<Server {Path(str(self._command(0)[0])).name} on port {self.port}>"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _find(name: str, installed: str = "") -> Path:
    if own := os.environ.get(f"LPCM_{name.upper()}"):
        return Path(own)
    for directory in (Path.cwd(), *Path(__file__).parents[2:4]):
        candidate = directory / ".engines" / "node_modules" / installed
        if installed and candidate.exists():
            return candidate
    if found := shutil.which(name):
        return Path(found)
    raise Missing(
        f"{name} is not installed: run `make servers`, put it on the PATH, or name it in "
        f"LPCM_{name.upper()}"
    )


@contextmanager
def _running(
    command: Callable[[int], Sequence[str | Path]], env: Mapping[str, str] | None = None
) -> Generator[Server, None, None]:
    server = Server(command, env)
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def memcached(memory: int = 64, options: Sequence[str] = ()) -> Generator[Server, None, None]:
    """Run a memcached of ``memory`` MB; ``options`` are further arguments."""
    program = _find("memcached")
    user = ("-u", "root") if os.geteuid() == 0 else ()
    arguments = ("-l", HOST, "-U", "0", "-m", str(memory), *user, *options)
    with _running(lambda port: [program, "-p", str(port), *arguments]) as server:
        yield server


@contextmanager
def dynoxide() -> Generator[Server, None, None]:
    """Run dynoxide, in memory; accepts any credentials."""
    program = _find("dynoxide", "@dynoxide/linux-x64/dynoxide")
    with _running(lambda port: [program, "--host", HOST, "--port", str(port)]) as server:
        yield server


@contextmanager
def extenddb() -> Generator[Server, None, None]:
    """Run ExtendDB, in memory; checks signatures, with the credentials in ``AWS``."""
    program = _find("extenddb", "@extenddb/linux-x64/extenddb")
    with tempfile.TemporaryDirectory() as home:

        def command(port: int) -> list[str | Path]:
            setting = f"EXTENDDB__SERVER__PORT={port}"
            return ["/usr/bin/env", setting, program, "serve", "--foreground"]

        env = {"EXTENDDB__STORAGE__SQLITE__PATH": ":memory:", "HOME": home}
        with _running(command, env) as server:
            yield server


@contextmanager
def dynalite() -> Generator[Server, None, None]:
    """Run dynalite, in memory; a third opinion (`make conformance`)."""
    program = _find("dynalite", "dynalite/cli.js")
    times = ("--createTableMs", "0", "--deleteTableMs", "0", "--updateTableMs", "0")

    def command(port: int) -> list[str | Path]:
        return ["node", program, "--host", HOST, "--port", str(port), *times]

    with _running(command) as server:
        yield server
