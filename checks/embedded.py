"""The tests of maps in memory and in a file: ``python -m checks.embedded``.

They need no server, and none that is marked ``posix`` is among them, so they run on Windows too;
CI runs them there and on macOS. ``--without-posix`` first takes away what Python has on POSIX
systems alone, so that Linux tells what would break on Windows. Anything else is passed to pytest.

Knows which files of tests need nothing else.
"""

from __future__ import annotations

import importlib
import sys

import pytest

FILES = (
    "README.md",
    "tests/map/test_bad_input.py",
    "tests/map/test_contract.py",
    "tests/map/test_cpython.py",
    "tests/map/test_increment.py",
    "tests/map/test_live.py",
    "tests/map/test_machine.py",
    "tests/map/test_transaction.py",
    "tests/stores/test_layout.py",
    "tests/stores/test_sqlite.py",
    "tests/test_codec.py",
    "tests/test_keys.py",
    "tests/test_registry.py",
)
CHOICE = ("-m", "not posix", "-k", "not dynoxide and not extenddb and not cache")

POSIX_MODULES = ("fcntl", "grp", "pwd", "resource", "termios")
POSIX_NAMES = {
    "mmap": ("MADV_", "MAP_", "PROT_"),
    "os": (
        "O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "chown", "fchown", "fdatasync",
        "fork", "getegid", "geteuid", "getgid", "getgroups", "getpgid", "killpg", "lchown",
        "mkfifo", "nice", "posix_", "pread", "pwrite", "register_at_fork", "sched_", "setsid",
        "statvfs", "sync", "uname",
    ),
    "select": ("epoll", "poll"),
    "signal": ("SIGALRM", "SIGCONT", "SIGHUP", "SIGKILL", "SIGSTOP", "SIGUSR", "setitimer"),
    "socket": ("MSG_DONTWAIT", "SO_REUSEPORT"),
}  # fmt: skip


class WithoutPosix:
    """A plugin of pytest that leaves what Windows has, before any test or lpcm is imported."""

    def pytest_configure(self) -> None:
        """Take the rest away."""
        assert "lpcm" not in sys.modules
        # These look for a POSIX system when they are imported, and are what they are by then.
        for name in ("asyncio", "multiprocessing.context", "numpy", "subprocess", "tempfile"):
            importlib.import_module(name)
        for name, prefixes in POSIX_NAMES.items():
            module = importlib.import_module(name)
            for attribute in [each for each in dir(module) if each.startswith(prefixes)]:
                delattr(module, attribute)
        for name in POSIX_MODULES:
            sys.modules[name] = None  # type: ignore[assignment]  # an import of it fails


def main(arguments: list[str]) -> int:
    """Run the tests; return pytest's exit code."""
    if "--without-posix" not in arguments:
        return pytest.main([*FILES, *CHOICE, *arguments])
    passed = [each for each in arguments if each != "--without-posix"]
    passed += [
        "-p",
        "no:xdist",
        "-o",
        "timeout_method=thread",
    ]  # as it is where there is no SIGALRM
    return pytest.main([*FILES, *CHOICE, *passed], [WithoutPosix()])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
