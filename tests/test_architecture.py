"""What holds the code base together: who may import whom, what an import costs, what is public.

The layers are DESIGN's: errors, keys, codec ← ports ← coherence ← engine ← map ← the rest.
"""

from __future__ import annotations
import __future__

import ast
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import pytest

import lpcm
from lpcm import errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SOURCE = Path(lpcm.__file__).parent

# Lowest first. A module may import its own layer and those below it. In the last layer a name
# also stands for all modules inside it.
LAYERS: tuple[frozenset[str], ...] = (
    frozenset(
        {
            "lpcm.system.files",
            "lpcm.redact",
            "lpcm.errors",
            "lpcm.events",
            "lpcm.system.network",
            "lpcm.system.process",
            "lpcm.system.transports",
            "lpcm.system.workers",
        }
    ),
    frozenset(
        {
            "lpcm.values.keys",
            "lpcm.ports.updates",
            "lpcm.values.codec",
            "lpcm.values.json_text",
            "lpcm.values.datetimes",
            "lpcm.values.registry",
            "lpcm.values.path",
        }
    ),
    frozenset({"lpcm.ports"}),
    frozenset({"lpcm.stores", "lpcm.caches"}),  # the scheme tables; adapters have rules below
    frozenset(
        {
            "lpcm.coherence.tier",
            "lpcm.coherence.read",
            "lpcm.coherence.write",
            "lpcm.coherence.invalidation",
            "lpcm.coherence.item",
            "lpcm.coherence.payload",
        }
    ),
    frozenset(
        {
            "lpcm.engine.config",
            "lpcm.engine.address",
            "lpcm.engine.loops",
            "lpcm.engine.drive",
            "lpcm.engine.stack",
            "lpcm.values.arithmetic",
            "lpcm.operations.operations",
            "lpcm.operations.entry",
            "lpcm.operations.retry",
            "lpcm.engine.engine",
            "lpcm.engine.backup",
            "lpcm.engine.observe",
            "lpcm.operations.binding",
            "lpcm.map.travel",
        }
    ),
    frozenset(
        {
            "lpcm.live.location",
            "lpcm.live.mutations",
            "lpcm.live.numbers",
            "lpcm.live.containers",
            "lpcm.map.set_map",
            "lpcm.map.transaction",
            "lpcm.live.live",
            "lpcm.map.views",
            "lpcm.map.async_methods",
            "lpcm.map.map",
        }
    ),
    frozenset({"lpcm"}),
    frozenset(
        {"lpcm.testing", "lpcm.django", "lpcm.cli", "lpcm.telemetry", "lpcm.__main__", "lpcm.apps"}
    ),
)
TOP = LAYERS[-1]
TABLES = ("lpcm.stores", "lpcm.caches")
# Who may know one adapter: what administrates it, which no port is for.
ADMINISTRATORS: Mapping[str, str] = {
    "lpcm.cli.table": "lpcm.stores.dynamodb",
    "lpcm.verify.targets": "lpcm.stores.dynamodb",
}
ADAPTER_IMPORTS = frozenset(
    {
        "lpcm.system.files",
        "lpcm.redact",
        "lpcm.ports",
        "lpcm.errors",
        "lpcm.events",
        "lpcm.values.keys",
        "lpcm.system.network",
        "lpcm.system.process",
        "lpcm.system.transports",
        "lpcm.system.workers",
    }
)
# An adapter made of another one: the cached-only store is a cache and nothing else.
MADE_OF: Mapping[str, frozenset[str]] = {
    "lpcm.stores.memcached": frozenset({"lpcm.caches.memcached"}),
}

# Whatever else is imported from outside the standard library, inside functions included.
THIRD_PARTY: Mapping[str, frozenset[str]] = {
    "lpcm.__main__": frozenset({"click", "rich"}),
    "lpcm.map.map": frozenset({"typing_extensions"}),
    "lpcm.map.set_map": frozenset(
        {"typing_extensions"}
    ),  # for type checkers, which have it built in
    "lpcm.cli": frozenset({"click", "rich"}),
    "lpcm.values.codec": frozenset({"pydantic"}),
    "lpcm.stores.dynamodb": frozenset({"boto3", "botocore", "httptools", "orjson"}),
    "lpcm.django": frozenset({"debug_toolbar", "django"}),
    "lpcm.testing": frozenset({"hypothesis", "pytest"}),
}

# What a module must not know, so that a test, a simulator or another driver can stand in.
_IO = frozenset({"asyncio", "http", "multiprocessing", "selectors", "socket", "sqlite3", "ssl"})
_CLOCKS = frozenset({"threading", "time"})
UNKNOWING: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(
        (
            "lpcm.engine.engine",
            "lpcm.live.live",
            "lpcm.map.set_map",
            "lpcm.map.views",
            "lpcm.map.async_methods",
            "lpcm.map.map",
        ),
        _IO,
    ),
    **dict.fromkeys(
        ("lpcm.errors", "lpcm.values.keys", "lpcm.values.codec", "lpcm.ports"), _IO | _CLOCKS
    ),
    **dict.fromkeys(("lpcm.values.arithmetic", "lpcm.operations.operations"), _IO | _CLOCKS),
    **dict.fromkeys(
        (
            "lpcm.coherence.tier",
            "lpcm.coherence.read",
            "lpcm.coherence.write",
            "lpcm.coherence.invalidation",
            "lpcm.coherence.item",
        ),
        _IO | _CLOCKS,
    ),
    "lpcm.engine.config": _IO | _CLOCKS,
}

# What must be noticed or replaced in the child of a fork, and by whom it is: ``lpcm.system.process``
# sees forks that run no hook of Python's. A module that has any of these asks it, or stands here.
LOOKED_AFTER = frozenset({
    "Condition", "Event", "Lock", "RLock", "Semaphore", "Thread", "ThreadPoolExecutor", "local",
})  # fmt: skip
NOT_ASKING: Mapping[str, str] = {
    "lpcm.system.network": "a thread and its result, both of one call",
    "lpcm.caches.memcached.pool": "its owner, cache, asks before each use and looks after it",
}
HOOKS = frozenset({"lpcm.system.process", "lpcm.stores.sqlite.connections"})
PROCESS_IDS: Mapping[str, str] = {
    "lpcm.system.process": "it compares them",
    "lpcm.testing": "a part of a name",
}

LONGEST = 500
_CONTRACT = "a contract is one list of requirements, read and inherited as a whole"
LONG: Mapping[str, str] = {
    "lpcm.testing.contracts.cache": _CONTRACT,
    "lpcm.testing.contracts.mapping": _CONTRACT,
    "lpcm.testing.contracts.store": _CONTRACT,
}
"""Modules over ``LONGEST`` lines, each with the reason why it is still one module."""

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


def imports_of(name: str, tree: ast.AST, *, known: frozenset[str], package: bool) -> set[str]:
    """Return what a module imports: lpcm's modules in full, others by their top name.

    Counts imports under ``TYPE_CHECKING``, inside functions and, by its name in a string,
    an adapter.
    """
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                found |= {alias.name for alias in names}
            case ast.ImportFrom(module=module, names=names, level=level):
                base = module or ""
                if level:
                    parents = name.split(".")
                    parents = parents[: len(parents) - level + package]
                    base = ".".join([*parents, *([module] if module else [])])
                members = {f"{base}.{alias.name}" for alias in names}
                found |= members & known or {base}
                if members - known:
                    found.add(base)
            case ast.Constant(value=str(text)) if name not in TABLES and text in known:
                if is_adapter(text):
                    found.add(text)
            case _:
                pass
    own = {target for target in found if target.split(".")[0] == "lpcm"}
    return own | {target.split(".")[0] for target in found - own}


def is_adapter(name: str) -> bool:
    """Return whether a module is behind a port: anything inside ``stores`` or ``caches``."""
    return any(name.startswith(table + ".") for table in TABLES)


def layer(name: str) -> int | None:
    """Return a module's layer, or None where it has none."""
    for rank, names in enumerate(LAYERS):
        if name in names:
            return rank
    return len(LAYERS) - 1 if any(name.startswith(top + ".") for top in TOP) else None


def allowed_outside(name: str) -> frozenset[str]:
    """Return the third-party packages that a module, or the package it is in, may import."""
    return frozenset().union(
        *(names for at, names in THIRD_PARTY.items() if name == at or name.startswith(at + "."))
    )


def violations(imports: Mapping[str, set[str]]) -> Iterator[str]:
    """Yield each breach of the rules above in a map from module to what it imports."""
    for name, targets in imports.items():
        rank = layer(name)
        if rank is None and not is_adapter(name):
            yield f"{name} has no layer: give it one in LAYERS"
            continue
        own = {target for target in targets if target.split(".")[0] == "lpcm"}
        outside = targets - own - sys.stdlib_module_names - allowed_outside(name)
        yield from (f"{name} imports {target}, a third party" for target in sorted(outside))
        unknowing = targets & UNKNOWING.get(name, frozenset())
        yield from (f"{name} must not know of {target}" for target in sorted(unknowing))
        for target in sorted(own - {name}):
            if rank is None:
                siblings = name.rpartition(".")[0] + "."
                near = target.startswith(siblings) and siblings[:-1] not in TABLES
                near = near or target.startswith(name + ".")  # inside a package
                private = target.startswith(siblings + "_")
                made_of = any(target.startswith(part) for part in MADE_OF.get(name, ()))
                if made_of:
                    continue
                if target not in ADAPTER_IMPORTS and not near and not private:
                    yield f"{name}, an adapter, imports {target}"
            elif is_adapter(target):
                own_adapter = ADMINISTRATORS.get(name)
                if own_adapter and f"{target}.".startswith(f"{own_adapter}."):
                    continue
                yield f"{name} imports {target}, an adapter"
            elif (above := layer(target)) is not None and above > rank:
                yield f"{name} imports {target}, which stands above it"


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


def unnoticed(name: str, tree: ast.AST, imports: set[str]) -> Iterator[str]:
    """Yield what a module has that would cross a fork in C."""
    words = taken_of(tree, "os", "posix")
    if "getpid" in words and name not in PROCESS_IDS:
        yield f"{name} looks at process ids: ask lpcm.system.process instead"
    if "register_at_fork" in words and name not in HOOKS:
        yield f"{name} has a hook for forks, which a fork in C does not run: use lpcm.system.process"
    if name.startswith("lpcm.testing."):
        return
    kept = taken_of(tree, "threading", "concurrent.futures") & LOOKED_AFTER
    if kept and "lpcm.system.process" not in {*imports, name} and name not in NOT_ASKING:
        yield f"{name} has {', '.join(sorted(kept))} and does not ask lpcm.system.process"


def test_forks_are_noticed_in_one_place():
    """No module relies on a hook or a process id; one that has locks or threads asks process."""
    files = source_files()
    found: list[str] = []
    for name, path in files.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        package = path.name == "__init__.py"
        imports = imports_of(name, tree, known=frozenset(files), package=package)
        found += unnoticed(name, tree, imports)
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
    found = list(unnoticed("lpcm.x", ast.parse(text), set()))
    assert any(one.startswith(breach) for one in found)
    asks = list(unnoticed("lpcm.x", ast.parse("lock = threading.Lock()"), {"lpcm.system.process"}))
    assert asks == []


def test_dependencies_run_one_way():
    """Every module imports its own layer and lower ones only; adapters see the port only."""
    files = source_files()
    known = frozenset(files)
    imports = {
        name: imports_of(
            name,
            ast.parse(path.read_text(encoding="utf-8")),
            known=known,
            package=path.name == "__init__.py",
        )
        for name, path in files.items()
    }
    assert list(violations(imports)) == []


@pytest.mark.parametrize(
    ("module", "target", "breach"),
    [
        (
            "lpcm.values.keys",
            "lpcm.engine.engine",
            "lpcm.values.keys imports lpcm.engine.engine, which stands above it",
        ),
        ("lpcm.ports", "lpcm", "lpcm.ports imports lpcm, which stands above it"),
        (
            "lpcm.map.map",
            "lpcm.testing.x",
            "lpcm.map.map imports lpcm.testing.x, which stands above it",
        ),
        (
            "lpcm.map.map",
            "lpcm.stores.sqlite.store",
            "lpcm.map.map imports lpcm.stores.sqlite.store, an adapter",
        ),
        (
            "lpcm.stores",
            "lpcm.stores.local.memory",
            "lpcm.stores imports lpcm.stores.local.memory, an adapter",
        ),
        (
            "lpcm.stores.x",
            "lpcm.values.codec",
            "lpcm.stores.x, an adapter, imports lpcm.values.codec",
        ),
        ("lpcm.stores.x", "lpcm.stores.y", "lpcm.stores.x, an adapter, imports lpcm.stores.y"),
        ("lpcm.stores.d.x", "lpcm.stores.y", "lpcm.stores.d.x, an adapter, imports lpcm.stores.y"),
        ("lpcm.newcomer", "lpcm.errors", "lpcm.newcomer has no layer: give it one in LAYERS"),
        ("lpcm.engine.engine", "numpy", "lpcm.engine.engine imports numpy, a third party"),
        ("lpcm.coherence.tier", "time", "lpcm.coherence.tier must not know of time"),
        (
            "lpcm.cli.table",
            "lpcm.stores.local.memory",
            "lpcm.cli.table imports lpcm.stores.local.memory, an adapter",
        ),
    ],
)
def test_a_breach_is_found(module: str, target: str, breach: str):
    """The checker above finds one import that runs the wrong way."""
    assert list(violations({module: {"typing", target}})) == [breach]


@pytest.mark.parametrize(
    ("module", "target"),
    [
        ("lpcm.engine.engine", "lpcm.engine.drive"),
        ("lpcm.testing.pytest_plugin", "pytest"),
        ("lpcm.stores.x", "lpcm.stores._sql"),
        ("lpcm.stores.d.x", "lpcm.stores.d.y"),
        ("lpcm.stores.d", "lpcm.stores.d.y"),
        ("lpcm.stores.x", "sqlite3"),
        ("lpcm.cli.table", "lpcm.stores.dynamodb.table.table"),
    ],
)
def test_what_is_allowed_is_no_breach(module: str, target: str):
    """The checker above lets through what the layers allow."""
    assert list(violations({module: {target}})) == []


@pytest.mark.parametrize(
    ("name", "source", "found"),
    [
        ("lpcm.a", "import lpcm.b, os.path", {"lpcm.b", "os"}),
        ("lpcm.a", "from lpcm import b", {"lpcm.b"}),
        ("lpcm.a", "from lpcm import b, LPCM", {"lpcm.b", "lpcm"}),
        ("lpcm.a", "from . import b", {"lpcm.b"}),
        ("lpcm.a", "from .b import c", {"lpcm.b"}),
        ("lpcm.stores", "from ..b import c", {"lpcm.b"}),
        ("lpcm.stores.x", "from ..b import c", {"lpcm.b"}),
        ("lpcm.a", "def f():\n    from lpcm.stores import x", {"lpcm.stores.x"}),
        ("lpcm.a", "if TYPE_CHECKING:\n    from lpcm.b import c", {"lpcm.b"}),
        ("lpcm.a", "import_module('lpcm.stores.x')", {"lpcm.stores.x"}),
        ("lpcm.stores", "SCHEMES = {'x': 'lpcm.stores.x'}", set()),
    ],
)
def test_imports_are_found(name: str, source: str, found: set[str]):
    """Whichever way a module is imported, the checker sees it."""
    known = frozenset({"lpcm", "lpcm.a", "lpcm.b", "lpcm.stores", "lpcm.stores.x"})
    tree = ast.parse(source)
    assert imports_of(name, tree, known=known, package=name in TABLES) == found


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
    assert {name for name in seen.modules if is_adapter(name)} == set()


def test_import_loads_nothing_heavy():
    """``import lpcm`` leaves the standard library's slow modules to those who use them."""
    assert sorted(fresh_import().modules & HEAVY) == []


def test_import_is_quick():
    """``import lpcm`` costs at most 45 ms of processor time, in the best of some interpreters.

    The processor's time and the best, because other processes on the machine slow the rest.
    """
    assert any(fresh_import().seconds <= IMPORT_BUDGET for _ in range(20))


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
    real: dict[str, str | None] = {"LPCMError": None}
    for name in set(errors.__all__) - {"LPCMError"}:
        bases = vars(errors)[name].__bases__
        real[name] = next(base.__name__ for base in bases if issubclass(base, errors.LPCMError))
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


def test_modules_are_short():
    """No module is longer than 500 lines without a reason; a reason no longer needed goes."""
    lengths = {
        name: len(path.read_text(encoding="utf-8").splitlines())
        for name, path in source_files().items()
    }
    assert {name for name, length in lengths.items() if length > LONGEST} == set(LONG)
