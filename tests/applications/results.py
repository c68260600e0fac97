"""A Celery application that keeps its results in a map, by docs/howto/under-other-libraries.md.

``CELERY_DIRECTORY`` holds the messages and the page's modules; the map is where ``LPCM_URL`` says.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from uuid import uuid4

from celery import Celery
from kombu.transport import filesystem
from kombu.utils.json import dumps

from lpcm import LPCM

directory = Path(os.environ.get("CELERY_DIRECTORY", "nowhere"))
sys.path.insert(0, str(directory))


class Channel(filesystem.Channel):
    """Messages appear whole: Kombu's own are seen while they are written."""

    def _put(self, queue, payload, **kwargs):
        name = f"{time.monotonic_ns()}_{uuid4()}.{queue}.msg"
        part = directory / f"{name}.part"
        part.write_text(dumps(payload))
        part.rename(directory / "queue" / name)


class Transport(filesystem.Transport):
    """Kombu's transport by files, with those messages."""

    Channel = Channel


app = Celery("results", backend="celery_lpcm:Backend")
app.conf.update(
    broker_url="filesystem://",
    broker_transport=f"{__name__}:Transport",
    broker_transport_options={
        "data_folder_in": str(directory / "queue"),
        "data_folder_out": str(directory / "queue"),
        "control_folder": str(directory / "control"),
        "store_processed": True,
        "processed_folder": str(directory / "processed"),
        "polling_interval": 0.02,
    },
    broker_connection_retry_on_startup=True,
    result_chord_join_timeout=30,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
)


@app.task
def double(number):
    """Return twice the number."""
    return 2 * number


@app.task
def fail(number):
    """Never return."""
    raise ValueError(f"no {number}")


@app.task
def total(numbers, name):
    """Add up what the header of a chord made, and count that it was done."""
    LPCM("bodies").increment(name)
    return sum(numbers)
