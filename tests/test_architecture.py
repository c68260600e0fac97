"""What holds the code base together: what an import costs, what is public, who may be used.

Which package imports which is held by import-linter's contracts in ``pyproject.toml``.
"""

from __future__ import annotations
import __future__

import ast
import inspect
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import pytest

import lpcm
from lpcm import errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SOURCE = Path(lpcm.__file__).parent

ADAPTERS = ("lpcm.stores.", "lpcm.caches.")

# Whatever else is imported from outside the standard library, inside functions included.
THIRD_PARTY: Mapping[str, frozenset[str]] = {
    "lpcm.__main__": frozenset({"click", "rich"}),
    "lpcm.map.map": frozenset({"typing_extensions"}),
    "lpcm.map.set_map": frozenset(
        {"typing_extensions"}
    ),  # for type checkers, which have it built in
    "lpcm.cli": frozenset({"click", "rich"}),
    "lpcm.django.project": frozenset({"click"}),
    "lpcm.values.codec": frozenset({"pydantic"}),
    "lpcm.stores.dynamodb": frozenset({"boto3", "botocore", "httptools", "orjson"}),
    "lpcm.values.compress": frozenset({"backports", "compression"}),  # the latter: Python 3.14's
    "lpcm.django": frozenset({"debug_toolbar", "django"}),
    "lpcm.testing": frozenset({"pytest"}),
}

# What must be noticed or replaced in the child of a fork: ``lpcm.system.process`` sees forks that
# run no hook of Python's. A module that has any of these asks it, or stands here.
ASKS = re.compile(
    r"^ *from lpcm\.system(\.process)? import .*\b(process|same|follow|Lock|forked)\b",
    re.MULTILINE,
)
LOOKED_AFTER = frozenset({
    "Condition", "Event", "Lock", "RLock", "Semaphore", "Thread", "ThreadPoolExecutor", "local",
})  # fmt: skip
NOT_ASKING: Mapping[str, str] = {
    "lpcm.cli.copy": "threads of one command, which does not fork meanwhile",
    "lpcm.cli.copying": "a lock and a sign for those threads",
    "lpcm.map.files": "a sign that a thread is amid a write: in a child the file stays refused",
    "lpcm.system.network": "a thread and its result, both of one call",
    "lpcm.stores.sqlite.database": "types alone",
    "lpcm.stores.sqlite.writes": "its owner, Commits, asks before each use and looks after it",
    "lpcm.caches.memcached.pool": "its owner, cache, asks before each use and looks after it",
}
HOOKS = frozenset({"lpcm.system.process", "lpcm.stores.sqlite.connections"})
PROCESS_IDS: Mapping[str, str] = {
    "lpcm.system.process": "it compares them",
    "lpcm.engine.insulation": "a part of a name",
}

LONGEST = 500

IMPORT_BUDGET = 0.045
# Standard modules that cost milliseconds and that no map needs before it is used. Not here,
# because many start with them anyway: inspect (with dataclasses), re (with urllib.parse).
HEAVY = frozenset({
    "asyncio", "concurrent.futures", "ctypes", "email", "hashlib", "http", "importlib.metadata",
    "json", "logging", "multiprocessing", "pathlib", "pickle", "secrets", "shutil", "socket",
    "sqlite3", "ssl", "statistics", "subprocess", "tempfile", "typing_extensions", "unittest",
    "zoneinfo",
})  # fmt: skip


def module_name(path: Path) -> str:
    """Return the dotted name of a source file of the package."""
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def source_files() -> dict[str, Path]:
    """Return the package's modules."""
    return {module_name(path): path for path in sorted(SOURCE.rglob("*.py"))}


def imports_of(tree: ast.AST) -> set[str]:
    """Return the top names of what a module imports, inside functions included."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                found |= {alias.name for alias in names}
            case ast.ImportFrom(module=str(module), level=0):
                found.add(module)
            case _:
                pass
    return {name.split(".")[0] for name in found}


def allowed_outside(name: str) -> frozenset[str]:
    """Return the third-party packages that a module, or the package it is in, may import."""
    return frozenset().union(
        *(names for at, names in THIRD_PARTY.items() if name == at or name.startswith(at + "."))
    )


def strangers(modules: Mapping[str, str]) -> list[str]:
    """Return each import of a third party that a module, given with its text, may not have."""
    return [
        f"{name} imports {target}"
        for name, text in modules.items()
        for target in sorted(imports_of(ast.parse(text)) - {"lpcm"} - sys.stdlib_module_names)
        if target not in allowed_outside(name)
    ]


def taken_of(tree: ast.AST, *modules: str) -> set[str]:
    """Return what a module uses of these: their attributes, and what it imports from them."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=module), attr=name) if module in modules:
                found.add(name)
            case ast.ImportFrom(module=module, names=names) if module in modules:
                found |= {alias.name for alias in names}
            case _:
                pass
    return found


def unnoticed(name: str, text: str) -> Iterator[str]:
    """Yield what a module, given with its text, has that would cross a fork in C."""
    tree = ast.parse(text)
    words = taken_of(tree, "os", "posix")
    if "getpid" in words and name not in PROCESS_IDS:
        yield f"{name} looks at process ids: ask lpcm.system.process instead"
    if "register_at_fork" in words and name not in HOOKS:
        yield f"{name} has a hook for forks, which no fork in C runs: use lpcm.system.process"
    if name.startswith(("lpcm.testing.", "lpcm.verify")):
        return
    kept = taken_of(tree, "threading", "concurrent.futures") & LOOKED_AFTER
    asks = name == "lpcm.system.process" or ASKS.search(text)
    if kept and not asks and name not in NOT_ASKING:
        yield f"{name} has {', '.join(sorted(kept))} and does not ask lpcm.system.process"


def test_forks_are_noticed_in_one_place():
    """No module relies on a hook or a process id; one that has locks or threads asks process."""
    found = [
        breach
        for name, path in source_files().items()
        for breach in unnoticed(name, path.read_text(encoding="utf-8"))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("text", "breach"),
    [
        ("import os\nos.register_at_fork(after_in_child=print)", "lpcm.x has a hook for forks"),
        ("from os import register_at_fork as hook", "lpcm.x has a hook for forks"),
        ("import os\nmade = os.getpid()", "lpcm.x looks at process ids"),
        ("import threading\nlock = threading.Lock()", "lpcm.x has Lock and does not ask"),
        ("from threading import RLock\nlock = RLock()", "lpcm.x has RLock and does not ask"),
    ],
)
def test_what_would_cross_a_fork_is_seen(text, breach):
    """The rule above sees each kind of what would cross a fork."""
    assert any(one.startswith(breach) for one in unnoticed("lpcm.x", text))
    asking = "from lpcm.system import process\nlock = threading.Lock()"
    assert list(unnoticed("lpcm.x", asking)) == []


def test_third_parties_stay_where_they_are_allowed():
    """A third-party package is imported only by the modules that it was admitted for."""
    texts = {name: path.read_text(encoding="utf-8") for name, path in source_files().items()}
    assert strangers(texts) == []


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("lpcm.a", "import numpy.linalg", ["lpcm.a imports numpy"]),
        ("lpcm.a", "def f():\n    from numpy import array", ["lpcm.a imports numpy"]),
        ("lpcm.a", "from lpcm.b import c\nfrom . import d\nimport os.path", []),
        ("lpcm.testing.pytest_plugin", "import pytest", []),
        ("lpcm.testingx", "import pytest", ["lpcm.testingx imports pytest"]),
    ],
)
def test_a_stranger_is_found(name: str, text: str, found: list[str]):
    """The checker above finds a third party wherever it is imported."""
    assert strangers({name: text}) == found


class Import(NamedTuple):
    """What one fresh interpreter saw of ``import lpcm``."""

    seconds: float
    modules: frozenset[str]
    outside: frozenset[str]


PROBE = """
import sys, time
before = set(sys.modules)
start = time.process_time()
import lpcm
seconds = time.process_time() - start
loaded = sorted(set(sys.modules) - before)
import json  # only now: what it loads would not be counted above
print(json.dumps([seconds, loaded]))
"""


def fresh_import() -> Import:
    """Import lpcm in an interpreter that has done nothing else."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", PROBE], capture_output=True, text=True, check=True
    )
    seconds, modules = json.loads(done.stdout)
    outside = {name.split(".")[0] for name in modules} - sys.stdlib_module_names - {"lpcm"}
    return Import(seconds, frozenset(modules), frozenset(outside))


def test_import_loads_nothing_from_outside():
    """``import lpcm`` loads no third-party module, and no adapter before its scheme is used."""
    seen = fresh_import()
    assert seen.outside == frozenset()
    assert {name for name in seen.modules if name.startswith(ADAPTERS)} == set()


def test_import_loads_nothing_heavy():
    """``import lpcm`` leaves the standard library's slow modules to those who use them."""
    assert sorted(fresh_import().modules & HEAVY) == []


def test_import_is_quick():
    """``import lpcm`` costs at most 45 ms of processor time, in the best of some interpreters.

    The processor's time and the best, because other processes on the machine slow the rest; and
    over some seconds, because they go on for some.
    """
    for _ in range(60):
        if fresh_import().seconds <= IMPORT_BUDGET:
            return
        time.sleep(0.1)
    pytest.fail("no interpreter was quick enough")


def public_names(module: ModuleType) -> set[str]:
    """Return the names a module offers, without the modules and compiler flags it uses."""
    return {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and not isinstance(value, ModuleType | __future__._Feature)
        and name != "TYPE_CHECKING"
    }


def test_all_lists_the_public_names():
    """``lpcm.__all__`` is every public name, once; their order is ruff's RUF022."""
    for name in lpcm.__all__:
        getattr(lpcm, name)
    assert len(lpcm.__all__) == len(set(lpcm.__all__))
    assert set(lpcm.__all__) - {"__version__"} == public_names(lpcm)


def documented() -> Iterator[tuple[str, object]]:
    """Yield what needs a docstring: public functions, classes and the methods lpcm gave them."""
    for name in lpcm.__all__:
        thing = getattr(lpcm, name)
        if inspect.isfunction(thing) or inspect.isclass(thing):
            yield name, thing
        if inspect.isclass(thing):
            for owner in thing.__mro__:
                if owner.__module__.split(".")[0] == "lpcm":
                    for attribute, value in vars(owner).items():
                        plain = getattr(value, "__func__", getattr(value, "fget", value))
                        if not attribute.startswith("_") and inspect.isfunction(plain):
                            yield f"{owner.__qualname__}.{attribute}", plain


def test_everything_public_is_documented():
    """Every public class, function and method has a docstring of its own."""
    assert sorted({name for name, thing in documented() if not thing.__doc__}) == []


def test_every_module_opens_with_its_responsibility():
    """Every module has a docstring; ``STYLE`` asks what it is for and must not know."""
    bare = [
        name
        for name, path in source_files().items()
        if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert bare == []


def drawn_tree(text: str) -> dict[str, str | None]:
    """Return {class: parent} as drawn with ``├──`` lines."""
    tree: dict[str, str | None] = {}
    path: list[tuple[int, str]] = []
    for line in text.splitlines():
        if match := re.fullmatch(r"( {4}(?:[│ ] {3})*(?:[├└]── )?)(\w+)", line):
            column, name = len(match[1]), match[2]
            path = [step for step in path if step[0] < column]
            tree[name] = path[-1][1] if path else None
            path.append((column, name))
    return tree


def test_the_drawn_tree_is_the_tree():
    """The tree in ``errors``' docstring is that of its classes."""
    real: dict[str, str | None] = {"LPCMError": None, "RuntimeWarning": None}
    for name in set(errors.__all__) - {"LPCMError"}:
        bases = vars(errors)[name].__bases__
        real[name] = next(
            base.__name__ for base in bases if issubclass(base, (errors.LPCMError, Warning))
        )
    assert drawn_tree(errors.__doc__ or "") == real


def test_a_drawing_is_read():
    """The parser above sees children, grandchildren and the way back up."""
    text = "Title.\n\n    A\n    ├── B\n    │   └── C\n    └── D\n        └── E\n"
    assert drawn_tree(text) == {"A": None, "B": "A", "C": "B", "D": "A", "E": "D"}


def test_errors_are_complete_and_public():
    """Every exception class of lpcm stands in ``errors.__all__`` and can be had from ``lpcm``."""
    classes = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, BaseException)
    }
    assert set(errors.__all__) == classes
    assert set(errors.__all__) <= set(lpcm.__all__)


GENERATORS: Mapping[str, str] = {
    "lpcm.stores.sqlite.inherited": "it runs in a fork's child, and takes no lock of Python",
}
"""Modules of the SQLite store that make context managers of generators, each with its reason."""


def test_no_generator_keeps_a_lock():
    """No context manager of the SQLite store is made of a generator.

    An exception of a signal handler that comes between the generator and its ``with`` would leave
    the generator's locks taken for as long as the traceback lives.
    """
    found = {
        name
        for name, path in source_files().items()
        if name.startswith("lpcm.stores.sqlite") and "contextmanager" in path.read_text("utf-8")
    }
    assert found == set(GENERATORS)


def test_modules_are_short():
    """No module is longer than 500 lines."""
    lengths = {
        name: len(path.read_text(encoding="utf-8").splitlines())
        for name, path in source_files().items()
    }
    assert {name for name, length in lengths.items() if length > LONGEST} == set()
