"""A Celery application whose tasks are interrupted by their soft time limits.

Broker and places come from the environment: ``CELERY_DIRECTORY`` holds the messages, and what
a task knows to be done it writes there with ``os.write`` before it goes on or dies.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded

from lpcm import LPCM

LIMIT = 0.4
"""Seconds after which a task is interrupted, once Celery looks: it does so every second."""
MOST = 5.0
"""Seconds after which a task ends by itself, if the interruption got lost in somebody's code."""

directory = Path(os.environ.get("CELERY_DIRECTORY", "nowhere"))
app = Celery("tasks")
app.conf.update(
    broker_url="filesystem://",
    broker_transport_options={
        "data_folder_in": str(directory / "queue"),
        "data_folder_out": str(directory / "queue"),
        "control_folder": str(directory / "control"),
        "polling_interval": 0.02,
    },
    broker_connection_retry_on_startup=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
)


def note(name, text):
    """Leave a word for the test, which stays whatever happens to this process."""
    file = os.open(directory / f"{name}.note", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(file, f"{text}\n".encode())
    finally:
        os.close(file)


def work(name, m):
    """Count until the time limit; return how many counts were acknowledged, and the exception."""
    done = 0
    end = time.monotonic() + MOST
    try:
        while time.monotonic() < end:
            m[name] += 1
            done += 1
    except SoftTimeLimitExceeded as error:
        return done, error  # kept by the caller, and by it the frames of what was interrupted
    return done, None


@app.task(soft_time_limit=LIMIT)
def count_and_die(name, url):
    """Count, write in the handler, and be killed: what was acknowledged must be in the file."""
    m = LPCM("counts", url=url, default=0)
    done, kept = work(name, m)
    m["done"] = done
    note(name, f"{done} {kept is not None}")
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(soft_time_limit=LIMIT)
def count_and_go_on(name):
    """Count, and go on in the same process with what others see at once."""
    m = LPCM("counts", default=0)
    done, kept = work(name, m)
    m[f"{name} done"] = done
    seen = m[name]
    total = LPCM("totals", default=0).increment("tasks")
    note(name, f"{done} {kept is not None} {seen} {total}")
