"""The version of this library: its one place."""

__all__ = ["__version__"]

__version__ = "0.1.0"
