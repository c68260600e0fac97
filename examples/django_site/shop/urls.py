"""The project's pages."""

from __future__ import annotations

from django.conf import settings
from django.contrib import admin
from django.urls import path

from shop import views

urlpatterns = [
    path("", views.home, name="home"),
    path("fruit/<str:name>/", views.fruit, name="fruit"),
    path("settings/", views.change_settings, name="settings"),
    path("async/<str:name>/", views.awaited, name="awaited"),
    path("admin/", admin.site.urls),
]
if settings.DEBUG:
    from debug_toolbar.toolbar import debug_toolbar_urls

    urlpatterns += debug_toolbar_urls()
