"""``manage.py create_lpcm_table``: make the DynamoDB table of an alias, as in 2012."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from lpcm.config import find
from lpcm.django import conf, stores
from lpcm.dynamodb import Design, create_table
from lpcm.errors import LPCMError

__all__ = ["Command"]


class Command(BaseCommand):
    """Make the table, wait until it can be used, and turn its TTL on."""

    help = "Create the DynamoDB table of an alias of LPCM, unless it is there."

    def add_arguments(self, parser: Any) -> None:
        """Take the alias, and provisioned units."""
        parser.add_argument("--using", default="default", help="alias of LPCM")
        parser.add_argument("--read-units", type=int, help="provisioned, instead of on demand")
        parser.add_argument("--write-units", type=int, help="provisioned, instead of on demand")

    def handle(self, *args: Any, **options: Any) -> None:
        """Make it; for a store without tables there is nothing to do."""
        using = options["using"]
        table = conf.aliases().get(using, {}).get("TABLE") or {}
        units = [options[name] or table.get(name) or None for name in ("read_units", "write_units")]
        if any(units) and not all(units):
            raise CommandError("give both --read-units and --write-units, or neither")
        try:
            location = stores[using].location
            if not location.startswith("dynamodb:"):
                self.stdout.write(f"{location} needs no table.")
                return
            made = create_table(find(using), Design(capacity=_capacity(units)))
        except LPCMError as error:
            raise CommandError(f"{using}: {error}") from error
        what = "was created" if made else "was there"
        self.stdout.write(self.style.SUCCESS(f"{location} {what}, and is ready."))


def _capacity(units: list[int | None]) -> tuple[int, int] | None:
    read, write = units
    return None if read is None or write is None else (read, write)
