"""Django, set up once for these tests, in a namespace of their own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.django.settings"

import django
import pytest
from django.test.utils import (
    setup_databases,
    setup_test_environment,
    teardown_databases,
    teardown_test_environment,
)

import lpcm
from lpcm.testing import insulate

if TYPE_CHECKING:
    from collections.abc import Iterator

django.setup()


@pytest.fixture(scope="package", autouse=True)
def _environment() -> Iterator[None]:
    """Do what Django's test runner does around a run."""
    with insulate(scratch=True):
        setup_test_environment()
        databases = setup_databases(verbosity=0, interactive=False)
        yield
        teardown_databases(databases, verbosity=0)
        teardown_test_environment()


@pytest.fixture(autouse=True)
def _empty_maps(_environment: None) -> Iterator[None]:
    """Start each test with empty maps."""
    with insulate():
        yield


@pytest.fixture
def real(_environment: None) -> Iterator[None]:
    """Let this test use what is configured, as a server does."""
    from lpcm import _engine

    saved = {name: os.environ.pop(name, None) for name in ("LPCM_NAMESPACE", "LPCM_SCRATCH")}
    before = _engine.fence(None)
    yield
    lpcm.close()
    os.environ.update({name: value for name, value in saved.items() if value})
    _engine.fence(before)
