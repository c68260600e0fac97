"""The command line on a project's maps: ``manage.py lpcm``, with options and a help of its own.

The commands are those of ``lpcm.cli``; only the shared options differ. It needs the ``cli`` extra.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

import lpcm
from lpcm.cli import Commands, Session
from lpcm.cli.words import in_namespace
from lpcm.config import DEFAULT_NAMESPACE, find

if TYPE_CHECKING:
    from lpcm.config import Config

__all__ = ["project"]


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(lpcm.__version__, prog_name="lpcm")
@click.option(
    "--using",
    metavar="ALIAS",
    default="default",
    show_default=True,
    help="The alias in the setting LPCM.",
)
@click.option(
    "--url",
    metavar="URL",
    help="Another store, in place of the alias's; the alias's namespace is kept.",
)
@click.option(
    "--namespace", metavar="NAME", help="Another namespace; default: the one of the alias."
)
@click.option("--json", "json_output", is_flag=True, help="Write JSON for programs to read.")
@click.pass_context
def project(
    ctx: click.Context, using: str, url: str | None, namespace: str | None, *, json_output: bool
) -> None:
    """Read and write the maps of this Django project, in the stores of its setting LPCM.

    A KEY or VALUE is JSON where it is JSON, else text: 7 is a number, "7" and seven are
    text, {"!tuple": ["eu", 7]} is a tuple.
    """
    ctx.call_on_close(lpcm.close)
    ctx.obj = Session(url, json_output=json_output, using=using)
    settings = find(using)
    if namespace is None and url is not None:
        namespace = _kept(settings, find(url=url))
    ctx.with_resource(in_namespace(namespace))


def _kept(settings: Config, other: Config) -> str | None:
    """Return the project's namespace, unless the other URL or the environment names one."""
    if "LPCM_NAMESPACE" in os.environ or other.namespace != DEFAULT_NAMESPACE:
        return None
    return settings.namespace
