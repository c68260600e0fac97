"""The checkpoint saver under test, a map of its own for each test."""

import secrets

import pytest
from langgraph_lpcm import Saver


@pytest.fixture
def saver():
    """Return a saver that holds nothing."""
    return Saver(f"checkpoints-{secrets.token_hex(8)}")
