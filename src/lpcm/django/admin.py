"""The browse page: maps, their keys and entries in Django's admin.

Reading needs the permission ``lpcm.view_map``. Adding, changing and deleting need ``lpcm.add_map``,
``lpcm.change_map`` and ``lpcm.delete_map`` *and* ``"ADMIN_EDIT": True`` in the alias's settings;
each is written to the admin's log. What is shown is in ``browsing``, where it is in ``addresses``.

Invariant: whatever stands in an address, a query or a form, and whatever the store answers, is
a page: what was asked for, "not found", or what is wrong, in words.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.text import Truncator

from lpcm.django import browsing, conf
from lpcm.django.addresses import AdminUrl
from lpcm.django.models import Map
from lpcm.errors import Conflict, LPCMError

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse
    from django.urls import URLPattern

    _Admin = admin.ModelAdmin[Map]
else:
    _Admin = admin.ModelAdmin

__all__ = ["MapAdmin"]

_TOO_LARGE = (
    "The value is too large to be changed here. Write it by lpcm set or a program, or delete it."
)


@admin.register(Map)
class MapAdmin(_Admin):
    """Maps, as the admin shows them."""

    def has_add_permission(
        self, request: HttpRequest, obj: Any = None
    ) -> bool:  # Django's signature
        """Refuse: no map is added, but entries are (``_may_add``)."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Map | None = None) -> bool:
        """Tell whether entries may be changed: by the user, and in this alias."""
        return super().has_change_permission(request, obj) and _editable(obj)

    def has_delete_permission(self, request: HttpRequest, obj: Map | None = None) -> bool:
        """Tell whether entries may be deleted: by the user, and in this alias."""
        return super().has_delete_permission(request, obj) and _editable(obj)

    def has_view_permission(self, request: HttpRequest, obj: Map | None = None) -> bool:
        """Tell whether maps may be looked at."""
        user: Any = request.user
        return bool(user.has_perm("lpcm.view_map")) or super().has_view_permission(request, obj)

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Map:
        """Return what an address leads to, which the caller has unquoted."""
        del request, from_field
        return _object(_found(object_id))

    def get_urls(self) -> list[URLPattern]:
        """Return Django's addresses, and the one where an entry is added."""
        view = self.admin_site.admin_view(self.add_entry_view)
        own = path("<path:object_id>/add/", view, name="lpcm_map_add_entry")
        return [own, *super().get_urls()]

    # Pages

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show the maps of all aliases."""
        self._check_view(request)
        context = {"listed": browsing.look(), "title": "Maps", **(extra_context or {})}
        return self._page(request, "lpcm/admin/maps.html", context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show a map's keys, or one entry; change it."""
        del form_url, extra_context
        self._check_view(request)
        url = _url(object_id)
        try:
            return self._keys(request, url) if url.stored_key is None else self._entry(request, url)
        except LPCMError as error:
            return self._failed(request, url, error)

    def _failed(self, request: HttpRequest, url: AdminUrl, error: LPCMError) -> HttpResponse:
        messages.error(request, str(error))
        return self._page(request, "lpcm/admin/failed.html", {"title": url.map})

    def _keys(self, request: HttpRequest, url: AdminUrl) -> HttpResponse:
        wanted = request.GET.get("q", "")
        after, before = request.GET.get("after", ""), request.GET.get("before", "")
        shown = browsing.page(url, wanted, after, before)
        context = {
            "url": url,
            "title": url.map,
            "wanted": wanted,
            "page": shown,
            "all": f"?{urlencode({'q': wanted})}" if wanted else "?",
            "previous": _query(wanted, before=shown.before),
            "next": _query(wanted, after=shown.after),
            "may_add": self._may_add(request, _object(url)),
        }
        return self._page(request, "lpcm/admin/keys.html", context)

    def add_entry_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show the form of a new entry of a map, and add it."""
        url = _url(object_id)
        if url.stored_key is not None:
            raise Http404("an entry has no entries")
        if not (self.has_view_permission(request) and self._may_add(request, _object(url))):
            raise PermissionDenied
        given = {name: request.POST.get(name, "").strip() for name in ("key", "value", "ttl")}
        error = ""
        if request.method == "POST":
            try:
                ttl = _seconds(given["ttl"]) if given["ttl"] else None
                made = browsing.add(url, given["key"], given["value"], ttl)
            except (LPCMError, ValueError, TypeError) as failure:
                error = str(failure)
            else:
                if made is not None:
                    self.log_addition(request, _object(made), "Added.")
                    messages.success(request, f"The entry {made.key} was added.")
                    return HttpResponseRedirect(_address(made))
                error = "There is an entry of this key already. Nothing was changed."
        context = {
            "url": url,
            "title": "Add an entry",
            "adding": True,
            "error": error,
            "key": given["key"],
            "text": given["value"],
            "ttl": given["ttl"],
        }
        return self._page(request, "lpcm/admin/add.html", context)

    def _entry(self, request: HttpRequest, url: AdminUrl) -> HttpResponse:
        made = _object(url)
        may_change = self.has_change_permission(request, made)
        error, text, ttl = "", None, request.POST.get("ttl", "").strip()
        if request.method == "POST":
            if not may_change:
                raise PermissionDenied
            text = request.POST.get("value", "")
            error = self._changed(request, url, text, ttl)
            if not error:
                return HttpResponseRedirect(request.path)
        try:
            shown = browsing.whole(url)
        except KeyError:
            messages.warning(request, f"There is no entry {url.key}.")
            return HttpResponseRedirect(_address(url.whole_map))
        context = {
            "url": url,
            "title": Truncator(url.key).chars(80),
            "original": made,
            "object_id": quote(str(url)),
            "shown": shown,
            "error": error,
            "text": shown.value if text is None else text,
            "ttl": ttl,
            "may_change": may_change and not shown.cut,
            "too_large": _TOO_LARGE if may_change and shown.cut else "",
            "may_delete": self.has_delete_permission(request, made),
        }
        return self._page(request, "lpcm/admin/entry.html", context)

    def _changed(self, request: HttpRequest, url: AdminUrl, text: str, ttl: str) -> str:
        """Change an entry; return what is wrong, if anything."""
        try:
            found = browsing.whole(url)
            if found.cut:
                return f"{_TOO_LARGE} Nothing was changed."
            length = _seconds(ttl) if ttl else found.left
            browsing.change(url, text, _etag(request.POST.get("etag", "")), length)
        except KeyError:
            return "The entry is gone by now. Nothing was changed."
        except Conflict:
            return (
                "Somebody else changed the entry since you looked. Nothing was changed: what is "
                "stored now is shown above, your text below."
            )
        except (LPCMError, ValueError, TypeError) as error:
            return str(error)
        self.log_change(request, _object(url), "Changed the value.")
        messages.success(request, f"The entry {url.key} was changed.")
        return ""

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: Any = None
    ) -> HttpResponse:
        """Ask whether to delete an entry, and do so."""
        del extra_context
        url = _url(object_id)
        made = _object(url)
        if url.stored_key is None or not self.has_delete_permission(request, made):
            raise PermissionDenied
        if request.method == "POST":
            try:
                browsing.remove(url)
            except LPCMError as error:
                return self._failed(request, url, error)
            self._log_deleted(request, made)
            messages.success(request, f"The entry {url.key} was deleted.")
            return HttpResponseRedirect(_address(url.whole_map))
        context = {"url": url, "title": "Are you sure?", "object_id": quote(str(url))}
        return self._page(request, "lpcm/admin/delete.html", context)

    def _log_deleted(self, request: HttpRequest, made: Map) -> None:
        from django.contrib.admin.models import DELETION, LogEntry

        user: Any = request.user
        LogEntry.objects.log_actions(
            user.pk, [made], DELETION, change_message="Deleted.", single_object=True
        )

    # Pieces

    def _may_add(self, request: HttpRequest, made: Map) -> bool:
        user: Any = request.user
        return bool(user.has_perm("lpcm.add_map")) and _editable(made)

    def _check_view(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied

    def _page(self, request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
        shared = {**self.admin_site.each_context(request), "opts": self.opts}
        return TemplateResponse(request, template, {**shared, **context})


def _url(object_id: str) -> AdminUrl:
    return _found(unquote(object_id))


def _found(address: str) -> AdminUrl:
    try:
        return AdminUrl.of(address)
    except (LPCMError, ValueError):
        raise Http404(f"no map is called {address!r}") from None


def _object(url: AdminUrl) -> Map:
    entry = "" if url.stored_key is None else f"[{url.key}]"
    return Map(name=str(url), shown=f"{url.map}{entry}")


def _address(url: AdminUrl) -> str:
    return reverse("admin:lpcm_map_change", args=(quote(str(url)),))


def _query(wanted: str, **position: str) -> str:
    """Return the query of another page of a search; empty where there is none."""
    if not all(position.values()):
        return ""
    return f"?{urlencode({**({'q': wanted} if wanted else {}), **position})}"


def _editable(made: Map | None) -> bool:
    """Tell whether the settings allow changes: of any alias, or of this one."""
    known = conf.aliases()
    if made is None:
        return any(given.get("ADMIN_EDIT") for given in known.values())
    return bool(known.get(made.name.partition("/")[0], {}).get("ADMIN_EDIT"))


def _etag(text: str) -> int:
    """Return the etag of a form: 64 bits, with a sign. **Raises** ValueError for anything else."""
    digits = text.removeprefix("-")
    if digits.isascii() and digits.isdecimal() and len(digits) < 20:
        number = int(text)
        if -(2**63) <= number < 2**63:
            return number
    raise ValueError("The form has no etag of an entry. Nothing was changed: load the page again.")


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 < number < math.inf:
        raise ValueError("An expiry is a number of seconds above 0.")
    return number
