"""Django's own tests, over lpcm's backends; what is different is said, with the reason.

Run by ``test_backends.py`` in a process with settings of its own. A difference that is none
any more is an error there (``expectedFailure``).
"""

# Django's tests say what they are

from __future__ import annotations

from unittest import expectedFailure

from cache.tests import BaseCacheTests, caches_setting_for_tests
from django.test import TestCase, override_settings
from sessions_tests.tests import SessionTestsMixin

from lpcm.django.sessions import SessionStore

BACKEND = "lpcm.django.cache.LPCMCache"


class Pickles(BaseCacheTests):
    # Entries expire by themselves; there is no number of them to cull at.
    test_cull = expectedFailure(BaseCacheTests.test_cull)
    test_zero_cull = expectedFailure(BaseCacheTests.test_zero_cull)


@override_settings(CACHES=caches_setting_for_tests(BACKEND=BACKEND, LOCATION="django tests"))
class PickleCacheTests(Pickles, TestCase):
    pass


class SessionTests(SessionTestsMixin, TestCase):
    backend = SessionStore
