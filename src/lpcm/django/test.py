"""``LPCMTestCase`` for Django's test classes: empty maps at the beginning of every test."""

from __future__ import annotations

import django.test

from lpcm.testing.cases import LPCMMixin

__all__ = ["LPCMMixin", "LPCMTestCase", "LPCMTransactionTestCase"]


class LPCMTestCase(LPCMMixin, django.test.TestCase):
    """``django.test.TestCase`` with empty maps, ``assertMaxReads`` and ``assertMaxWrites``."""


class LPCMTransactionTestCase(LPCMMixin, django.test.TransactionTestCase):
    """``django.test.TransactionTestCase`` with the same."""
