"""AWS itself: ``make aws``, with ``LPCM_TEST_DYNAMODB_URL`` and credentials that may use it.

The URL is a table's (``dynamodb://lpcm-test?region=eu-west-1``), made before by ``lpcm table
create``, and used for nothing else: the contracts leave entries in it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from lpcm.engine import config
from lpcm.engine.drive import run
from lpcm.ports import KeyRange
from lpcm.stores.dynamodb.open import open_store
from lpcm.testing.contracts.store import StoreContract
from lpcm.testing.contracts.updates import TransactionContract, UpdateContract
from lpcm.values.keys import partition

if TYPE_CHECKING:
    from lpcm.ports import Store

URL = "LPCM_TEST_DYNAMODB_URL"


class TestAWS(StoreContract, UpdateContract, TransactionContract):
    """The contracts of stores, of changes of parts and of transactions."""

    exactly_once = False

    def open(self) -> Store:
        """Open the table, the contracts' namespaces emptied."""
        if URL not in os.environ:
            pytest.fail(f"set {URL} to the URL of a table to test on")
        settings = config.parse(os.environ[URL])
        store = open_store(settings.path, **dict(settings.store_options))
        for name in ("map", "other"):
            run(store.clear(partition("ns", name), KeyRange()))
        return store
