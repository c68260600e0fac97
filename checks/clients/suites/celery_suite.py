"""lpcm in the place of the key-value backend that celery's tests keep in a dict."""

import secrets
import sys

import celery_lpcm

from lpcm import LPCM

pytest_plugins = ["celery.contrib.pytest"]


class KVBackend(celery_lpcm.Backend):
    """A map of its own for each backend; chords are polled unless a test says otherwise."""

    mget_returns_dict = False
    implements_incr = False
    supports_result_compression = False
    supports_native_join = False

    def __init__(self, app, *args, **kwargs):
        super().__init__(app, *args, **kwargs)
        self.map = self.db = LPCM(f"celery-{secrets.token_hex(8)}", live=False)

    def mget(self, keys):
        found = super().mget(keys)
        return dict(zip(keys, found, strict=True)) if self.mget_returns_dict else found


class CompressingKVBackend(KVBackend):
    supports_result_compression = True


def pytest_collection_finish():
    """Let the tests, which look the classes up when they run, find these."""
    module = sys.modules["t.unit.backends.test_base"]
    module.KVBackend, module.CompressingKVBackend = KVBackend, CompressingKVBackend
