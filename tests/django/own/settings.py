"""The settings that Django's own tests of cache and session backends run with here."""

from __future__ import annotations

import sys
from pathlib import Path

import django

TESTS = Path(__file__).parents[3] / ".engines" / f"django-{django.__version__}" / "tests"
sys.path.insert(0, str(TESTS))

SECRET_KEY = "a key for tests, long enough and random enough for nobody to mind 8f3b1c"
USE_TZ = False  # as Django's own tests
INSTALLED_APPS = [
    "lpcm",
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "cache",
    "sessions_tests",
]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
SESSION_ENGINE = "lpcm.django.sessions"
