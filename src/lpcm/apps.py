"""What ``INSTALLED_APPS = ["lpcm"]`` finds: Django's side is all in ``lpcm.django``."""

from lpcm.django.apps import LPCMConfig

__all__ = ["LPCMConfig"]
