"""``Map``: no table, but what Django's permissions and the admin's log are about."""

from __future__ import annotations

from django.db import models

__all__ = ["Map"]


class NoRows(models.Manager["Map"]):
    """A manager that finds nothing and asks no database, since there is no table."""

    def get_queryset(self) -> models.QuerySet[Map]:
        """Return no rows."""
        return super().get_queryset().none()


class Map(models.Model):
    """A map, or an entry of one, which permissions and the admin's log refer to."""

    name: models.CharField[str, str] = models.CharField(primary_key=True, max_length=1500)
    """Alias, map and key, as the browse page's addresses have them."""

    objects = NoRows()

    class Meta:
        """No table; the permissions are for the entries of maps."""

        managed = False
        base_manager_name = "objects"
        default_permissions = ("view", "add", "change", "delete")
        verbose_name = "map"

    def __init__(self, *args: object, shown: str = "", **options: object) -> None:
        super().__init__(*args, **options)
        self._shown = shown

    def __str__(self) -> str:
        return self._shown or str(self.name)
