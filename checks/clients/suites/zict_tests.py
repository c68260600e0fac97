"""zict's checks of mappings, on each of its buffers with a map behind it."""

import random
import secrets

import pytest
import zict
from zict.tests import utils_test

from lpcm import LPCM


def a_map():
    return LPCM(f"zict-{secrets.token_hex(8)}", live=False)


BUFFERS = {
    "buffer": lambda: zict.Buffer({}, a_map(), n=2),
    "cache": lambda: zict.Cache(a_map(), {}),
    "weak cache": lambda: zict.Cache(a_map(), zict.WeakValueMapping()),
    "function": lambda: zict.Func(bytes, bytes, a_map()),
    "least recently used": lambda: zict.LRU(100, a_map()),
    "sieve": lambda: zict.Sieve({0: a_map(), 1: a_map()}, lambda key, value: random.choice([0, 1])),
    "file": lambda: zict.File(secrets.token_hex(8)),
}


@pytest.mark.parametrize("kind", BUFFERS)
def test_mapping(kind):
    utils_test.check_mapping(BUFFERS[kind]())


@pytest.mark.parametrize("kind", BUFFERS)
def test_different_keys_threadsafe(kind):
    utils_test.check_different_keys_threadsafe(BUFFERS[kind](), allow_keyerror=False)


@pytest.mark.parametrize("kind", BUFFERS)
def test_same_key_threadsafe(kind):
    utils_test.check_same_key_threadsafe(BUFFERS[kind]())
