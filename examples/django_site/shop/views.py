"""Views that count and remember in maps: no model, no migration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.http import JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from lpcm import LPCM

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

FRUITS = ("apple", "fig", "pear")
hits: LPCM[str, int] = LPCM("hits", default=0)
settings: LPCM[str, str] = LPCM("settings", default="light")
visitors: LPCM[str, dict[str, int]] = LPCM("visitors", default=dict, ttl=30 * 24 * 3600)


def home(request: HttpRequest) -> HttpResponse:
    """Show what was counted."""
    hits["home"] += 1  # atomic, over all processes and machines
    context = {"hits": hits.most_common(), "fruits": FRUITS, "theme": settings["theme"]}
    return render(request, "shop/home.html", context)


def fruit(request: HttpRequest, name: str) -> HttpResponse:
    """Count a fruit, for everybody and for this visitor."""
    hits.increment(f"fruit/{name}")
    if not request.session.session_key:
        request.session.create()
    mine = visitors.setdefault(request.session.session_key or "", {})
    mine[name] = mine.get(name, 0) + 1
    context = {"name": name, "mine": dict(mine), "theme": settings["theme"]}
    return render(request, "shop/fruit.html", context)


@require_POST
def change_settings(request: HttpRequest) -> HttpResponse:
    """Remember a setting."""
    settings["theme"] = "dark" if request.POST.get("theme") == "dark" else "light"
    return redirect("home")


async def awaited(request: HttpRequest, name: str) -> HttpResponse:
    """Count without blocking the event loop."""
    del request
    return JsonResponse({"name": name, "number": await hits.aincrement(f"async/{name}")})
