"""The command line: maps from a terminal, for looking, mending, loading and unloading.

This module is the group: the options all commands share, how errors end, and where each
command is found. Commands stand in modules of their own, imported when one is asked for.

========= ===========================================================================
exit code
========= ===========================================================================
0         done
1         the key, file or table is not there; what was checked does not hold (``doctor``)
2         the command line is wrong
3         a URL, key or value that cannot be used; nothing was written
4         the store or the cache did not do it
5         a write of which no one knows whether it was done
130       interrupted
========= ===========================================================================
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import contextmanager
from importlib import import_module
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, NoReturn

import click

import lpcm
from lpcm import LPCM, Engine, LPCMError
from lpcm.administration import MapNotFound, Records, check_exists, open_engine
from lpcm.cli.words import complain, in_namespace
from lpcm.config import find, redact_words
from lpcm.errors import BatchError, CacheUnavailable, OutcomeUnknown, StoreError, StoreMissing
from lpcm.text import foreign, printable

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Mapping

    from lpcm.config import Config

__all__ = ["Commands", "Session", "main"]

COMMANDS: Mapping[str, str] = {
    "audit": "lpcm.cli.audit:audit",
    "backup": "lpcm.cli.backup:backup",
    "copy": "lpcm.cli.copy:copy",
    "count": "lpcm.cli.entries:count",
    "del": "lpcm.cli.entries:delete",
    "doctor": "lpcm.cli.doctor:doctor",
    "export": "lpcm.cli.transfer:export",
    "get": "lpcm.cli.entries:get",
    "iam": "lpcm.cli.table:iam",
    "identity": "lpcm.cli.identity:identity",
    "import": "lpcm.cli.transfer:import_",
    "incr": "lpcm.cli.entries:increment",
    "info": "lpcm.cli.file:info",
    "items": "lpcm.cli.entries:items",
    "keys": "lpcm.cli.entries:keys",
    "map": "lpcm.cli.catalogue:map_",
    "maps": "lpcm.cli.entries:maps",
    "purge": "lpcm.cli.file:purge",
    "set": "lpcm.cli.entries:set_",
    "sweep": "lpcm.cli.sweep:sweep",
    "table": "lpcm.cli.table:table",
    "vacuum": "lpcm.cli.file:vacuum",
    "verify": "lpcm.cli.verify:verify",
}
"""Where each command is: ``module:name``."""


class Session:
    """What the shared options say."""

    def __init__(self, url: str | None, *, json_output: bool, using: str = "default") -> None:
        self.url = url
        self.using = using
        """The alias whose maps they are where no URL is given."""
        self.json = json_output

    def map(self, name: str) -> LPCM[Any, Any]:
        """Return the map of that name, to write to."""
        return LPCM(name, using=self.using, url=self.url)

    def there(self, what: str) -> Engine:
        """Return the engine, to read from. **Raises** StoreMissing: it makes no file.

        A file of a misspelt name would be an empty store.
        """
        check_exists(self.settings(), f"nothing to {what}")
        return self.engine()

    def read(self, name: str) -> LPCM[Any, Any]:
        """Return the map of that name, to read from; see ``there``."""
        found = self.map(name)  # a wrong name is named first
        self.there("read")
        return found

    def records(self, name: str, *, shards: int | None = None) -> Records:
        """Return the entries of that map as they are stored."""
        return Records(name, using=self.using, url=self.url, shards=shards)

    def engine(self) -> Engine:
        """Return the engine of the URL or alias."""
        return open_engine(self.using, url=self.url)

    def settings(self) -> Config:
        """Return what the URL or alias is configured as."""
        return find(self.using, url=self.url)

    def maps(self) -> list[str]:
        """Return the names of all maps; see ``there``."""
        return lpcm.maps(using=self.there("read"))


class Commands(click.Group):
    """The commands of ``COMMANDS``, and one way for all of them to fail."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """Return their names."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # as above
        """Import a command."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the shared options wherever they stand."""
        valued = {
            name
            for option in self.params
            if isinstance(option, click.Option) and not option.is_flag
            for name in option.opts
        }
        words = _shared_first(args, valued)
        with _redacted(as_json="--json" in words):
            return super().parse_args(ctx, words)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; end with the exit code of what went wrong."""
        try:
            with foreign(), _redacted(as_json=ctx.params["json_output"]):
                return super().invoke(ctx)
        except MapNotFound as error:
            fail(ctx, 1, error, f"no such map: {printable(repr(error.args[0]))}")
        except KeyError as error:
            fail(ctx, 1, error, f"no such key: {printable(repr(error.args[0]))}")
        except BatchError as error:
            fail(ctx, max(map(code, error.errors.values())), error)
        except (LPCMError, ValueError, TypeError) as error:
            fail(ctx, code(error), error)
        except KeyboardInterrupt:
            sys.exit(130)
        except BrokenPipeError:
            # The reader of the output has seen enough. Python would complain once more at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)


class _UsageForPrograms(click.UsageError):
    """A wrong command line, said in JSON."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Write it as other errors are written."""
        line = json.dumps({"error": "UsageError", "message": printable(self.message)})
        click.echo(line, file=file, err=True)


@contextmanager
def _redacted(*, as_json: bool) -> Generator[None, None, None]:
    """Keep passwords out of what click says of words that stand in the wrong place."""
    try:
        yield
    except click.UsageError as error:
        if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):  # since 8.2
            raise
        kind = _UsageForPrograms if as_json else click.UsageError
        raise kind(redact_words(error.format_message()), error.ctx) from None


def _shared_first(words: list[str], valued: Collection[str]) -> list[str]:
    """Return the words of a command line with the shared options in front of the command.

    ``valued``: the names of those that take a value.

    >>> _shared_first(["get", "m", "--url", "memory://", "--json", "--", "--json"], {"--url"})
    ['--url', 'memory://', '--json', 'get', 'm', '--', '--json']
    """
    shared: list[str] = []
    others: list[str] = []
    left = iter(words)
    for word in left:
        if word == "--":
            others += [word, *left]
        elif word == "--json" or word.startswith(tuple(f"{name}=" for name in valued)):
            shared.append(word)
        elif word in valued:
            shared += [word, *islice(left, 1)]
        else:
            others.append(word)
    return shared + others


def code(error: Exception) -> int:
    """Return the exit code for an error; see the module's table."""
    match error:
        case StoreMissing():
            return 1
        case OutcomeUnknown():
            return 5
        case StoreError() | CacheUnavailable():
            return 4
        case _:
            return 3


def fail(ctx: click.Context, status: int, error: Exception, message: str = "") -> NoReturn:
    """Say what went wrong on the standard error, in one line, and end."""
    complain(ctx.find_object(Session), type(error).__name__, message or str(error))
    sys.exit(status)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(lpcm.__version__, prog_name="lpcm")
@click.option(
    "--url",
    metavar="URL",
    help="Where the maps live; default: LPCM_URL, else sqlite:///lpcm.sqlite3.",
)
@click.option("--namespace", metavar="NAME", help="Their namespace; default: LPCM_NAMESPACE.")
@click.option("--json", "json_output", is_flag=True, help="Write JSON for programs to read.")
@click.pass_context
def main(ctx: click.Context, url: str | None, namespace: str | None, *, json_output: bool) -> None:
    """Read and write the maps of an lpcm store.

    A KEY or VALUE is JSON where it is JSON, else text: 7 is a number, "7" and seven are
    text, {"!tuple": ["eu", 7]} is a tuple.
    """
    ctx.call_on_close(lpcm.close)
    ctx.with_resource(in_namespace(namespace))
    ctx.obj = Session(url, json_output=json_output)
