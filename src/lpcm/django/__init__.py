"""lpcm in a Django project: settings, checks, commands, signals, cache, sessions, admin.

Add ``"lpcm"`` to ``INSTALLED_APPS`` and say where maps live; every ``LPCM(...)`` of the
process follows, those made at import time included::

    LPCM = {
        "default": {
            "STORE": "dynamodb://shop?region=eu-west-1",
            "CACHE": "memcached://10.0.0.1:11211",
            "OPTIONS": {"namespace": "shop"},
        },
        "local": {"STORE": "sqlite:////var/lib/shop/local.sqlite3"},
    }

See ``docs/howto/django.md``. The library below knows nothing of Django.
"""

from lpcm.django.stores import stores

__all__ = ["stores"]
