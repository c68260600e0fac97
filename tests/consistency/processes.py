"""Real processes for the tests of this directory: started, awaited and ended by pid."""

import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from lpcm import LPCM, Engine
from tests.consistency import workers

ROOT = Path(__file__).parents[2]


class Crew:
    """Processes that each run one function of a module that runs the one it is told."""

    def __init__(self):
        self._processes = []

    def start(self, function, *arguments):
        """Start ``function(*arguments)``, each argument as text."""
        command = [sys.executable, "-m", function.__module__, function.__name__]
        process = subprocess.Popen(
            [*command, *map(str, arguments)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._processes.append(process)
        return process

    def kill(self, process):
        """SIGKILL a process that must still be at work."""
        assert process.poll() is None, process.communicate()[0]
        process.kill()
        process.communicate(timeout=10)

    def wait(self, *processes, timeout=60.0):
        """Wait until these end well; return what each printed."""
        deadline = time.monotonic() + timeout
        outputs = []
        for process in processes:
            output, _ = process.communicate(timeout=max(0.1, deadline - time.monotonic()))
            assert process.returncode == 0, output
            outputs.append(output)
        return outputs

    def close(self):
        """End whatever is left."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.communicate(timeout=10)


@contextmanager
def crew():
    """Give a crew that leaves no process behind."""
    own = Crew()
    try:
        yield own
    finally:
        own.close()


@contextmanager
def looking(path):
    """Give the map that the workers use, on an engine that is closed afterwards."""
    engine = Engine.open(workers.url(path))
    try:
        yield LPCM("m", using=engine)
    finally:
        engine.close()


def until(condition, timeout=30.0):
    """Wait until the condition holds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)


def lines(path):
    """Return the complete lines of a log, of which a killed writer may have torn the last."""
    return Path(path).read_text().split("\n")[:-1] if Path(path).exists() else []
