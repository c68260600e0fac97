"""``{% map_url url %}``: the address of a map or an entry in the admin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django import template
from django.contrib.admin.utils import quote
from django.urls import reverse

if TYPE_CHECKING:
    from lpcm.django.addresses import AdminUrl

register = template.Library()


@register.simple_tag
def map_url(url: AdminUrl, page: str = "change") -> str:
    """Return the address of its page, or of its ``delete`` or ``history`` page."""
    return reverse(f"admin:lpcm_map_{page}", args=(quote(str(url)),))
