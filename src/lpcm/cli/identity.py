"""A namespace's identity, which its cached items carry and no others do: ``lpcm identity``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from lpcm.administration import renew_identity
from lpcm.cli.words import pass_session

if TYPE_CHECKING:
    from lpcm.cli import Session

__all__ = ["identity"]


@click.group()
def identity() -> None:
    """Give a namespace what tells its cached items from those of every other store."""


@identity.command()
@pass_session
def renew(session: Session) -> None:
    """Give the namespace of the URL a new identity: nothing that is cached of it counts any more.

    For a table or file that was restored in place, under the name it had. Programs that run
    follow within a minute: better, end them before the restore and start them after this.
    """
    engine = session.engine()
    renew_identity(engine)
    if session.json:
        click.echo(json.dumps({"namespace": engine.namespace, "renewed": True}))
    else:
        click.echo(f"{engine.namespace}: a new identity; what was cached of it is not used again")
