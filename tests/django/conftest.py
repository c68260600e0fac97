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
    from lpcm.engine.insulation import fence

    saved = {name: os.environ.pop(name, None) for name in ("LPCM_NAMESPACE", "LPCM_SCRATCH")}
    before = fence(None)
    yield
    lpcm.close()
    os.environ.update({name: value for name, value in saved.items() if value})
    fence(before)


@pytest.fixture
def database(_environment):
    """Leave Django's database as it was."""
    from django.db import transaction

    with transaction.atomic():
        yield
        transaction.set_rollback(True)


@pytest.fixture
def user(database):
    """Return a function that logs a user with these permissions in, and returns the client."""

    def make(*permissions):
        from django.contrib.auth.models import Permission, User
        from django.test import Client

        made = User.objects.create_user("ada", is_staff=True)
        for name in permissions:
            made.user_permissions.add(Permission.objects.get(codename=f"{name}_map"))
        client = Client()
        client.force_login(made)
        return client

    return make
