"""The project's pages."""

from __future__ import annotations

from debug_toolbar.toolbar import debug_toolbar_urls
from django.contrib import admin
from django.urls import path

from shop import views

urlpatterns = [
    path("", views.home, name="home"),
    path("fruit/<str:name>/", views.fruit, name="fruit"),
    path("settings/", views.change_settings, name="settings"),
    path("async/", views.awaited, name="awaited"),
    path("admin/", admin.site.urls),
    *debug_toolbar_urls(),
]
