"""A small Django project on maps."""
