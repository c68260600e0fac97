"""``manage.py lpcm ...``: the command line, on the maps of the project's settings."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

__all__ = ["Command"]


class Command(BaseCommand):
    """Hand everything to the command line of lpcm."""

    help = "Read and write the maps of this project: the whole command line of lpcm."
    requires_system_checks = []

    def run_from_argv(self, argv: list[str]) -> None:
        """Pass on the arguments as they are: they are not Django's."""
        main = _command_line()
        main(args=argv[2:], prog_name=f"{argv[0].rpartition('/')[2]} {argv[1]}")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run it from ``call_command("lpcm", "get", "map", "key")``."""
        main = _command_line()
        try:
            main(args=list(args), prog_name="lpcm")
        except SystemExit as end:
            if end.code:
                raise CommandError("lpcm failed", returncode=int(end.code)) from end

    def add_arguments(self, parser: Any) -> None:
        """Take anything, for ``call_command``."""
        parser.add_argument("args", nargs="*")


def _command_line() -> Any:
    try:
        from lpcm.django.project import project
    except ModuleNotFoundError as error:
        if error.name not in {"click", "rich"}:
            raise
        raise CommandError(f"it needs {error.name}: pip install 'lpcm[cli]'") from error
    return project
