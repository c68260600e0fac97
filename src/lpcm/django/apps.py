"""The app: it ties the library to the project's settings, signals and test runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.apps import AppConfig
from django.core import checks
from django.core.signals import setting_changed

from lpcm.config import refresh, source
from lpcm.django import conf
from lpcm.django.stores import stores

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["LPCMConfig"]


class LPCMConfig(AppConfig):
    """lpcm as a Django app."""

    name = "lpcm.django"
    label = "lpcm"
    verbose_name = "LPCM"
    default_auto_field = "django.db.models.BigAutoField"

    def __init__(self, app_name: str, app_module: ModuleType | None) -> None:
        super().__init__(app_name, app_module)
        # Not in ready(): the modules of other apps may use their maps while they load.
        source(conf.find)
        conf.hide_passwords()
        setting_changed.connect(_follow, dispatch_uid="lpcm")

    def ready(self) -> None:
        """Register the checks, and wait for a test run to begin."""
        from lpcm.django.checks import check_deployment, check_settings
        from lpcm.django.insulation import watch

        checks.register(check_settings, "lpcm")
        checks.register(check_deployment, "lpcm", deploy=True)
        watch()


def _follow(*, setting: str, **_: Any) -> None:
    """Let maps follow ``override_settings``."""
    if setting in conf.SETTINGS:
        conf.hide_passwords()
        stores.forget()
        refresh()
