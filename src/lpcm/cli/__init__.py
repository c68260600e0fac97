"""The command line: maps from a terminal, for looking, mending, loading and unloading."""

from __future__ import annotations

import json

import click

from lpcm import LPCM, __version__

__all__ = ["main"]


@click.group()
@click.version_option(__version__, prog_name="lpcm")
def main() -> None:
    """Read and write the maps of an lpcm store."""


@main.command()
@click.argument("map")
@click.argument("key")
def get(map: str, key: str) -> None:
    """Print the value of KEY in MAP, as JSON."""
    click.echo(json.dumps(LPCM(map)[key]))
