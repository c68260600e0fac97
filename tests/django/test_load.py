"""Views under load, for two seconds; for thirty: ``make django-load``."""

from __future__ import annotations

import pytest

from tests.django.load import CLIENTS, SERVERS, load


@pytest.mark.timeout(180)
@pytest.mark.parametrize("server", SERVERS)
def test_every_reply_is_its_clients_own(server):
    """Clients at the same time get no error, lose no count, and never each other's answer."""
    assert len(load(server, 2.0)) >= CLIENTS
