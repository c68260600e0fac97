"""The methods of live values: the table, the classes made of it, and what type checkers read."""

import ast
import inspect
from pathlib import Path

import pytest

import lpcm
from lpcm import live as public
from lpcm.live import mutations

TABLES = {
    lpcm.LiveDict: (dict, mutations.DictMethods),
    lpcm.LiveList: (list, mutations.ListMethods),
    lpcm.LiveSet: (set, mutations.SetMethods),
}
NUMBERS = (lpcm.LiveInt, lpcm.LiveFloat, lpcm.LiveDecimal)
READS = {
    dict: {"copy", "fromkeys", "get", "items", "keys", "values"},
    list: {"copy", "count", "index"},
    set: {
        "copy", "difference", "intersection", "isdisjoint", "issubset", "issuperset",
        "symmetric_difference", "union",
    },
}  # fmt: skip
STUB = ast.parse(Path(public.__file__).with_suffix(".pyi").read_text())


def rows(table):
    """Return the functions of a table by name."""
    return {name: row for name, row in vars(table).items() if inspect.isfunction(row)}


@pytest.mark.parametrize("live", TABLES)
def test_every_method_that_changes_a_container_is_in_the_table(live):
    """What Python's container has beyond reading, the table has, and no more."""
    kind, table = TABLES[live]
    changing = {name for name in vars(kind) if not name.startswith("_")} - READS[kind]
    changing |= {"__setitem__", "__delitem__"} & set(vars(kind))
    changing |= {name for name in vars(kind) if name.startswith("__i") and name != "__iter__"}
    changing -= {"__init__", "__init_subclass__"}
    assert set(rows(table)) | set(table.operators) == changing


@pytest.mark.parametrize("live", TABLES)
def test_methods_look_as_the_table_says(live):
    """``help`` and ``inspect`` show name, arguments, what is returned and the docstring."""
    _, table = TABLES[live]
    for name, row in rows(table).items():
        if name in table.operators:
            continue
        twin = getattr(live, f"a{name.strip('_')}")
        assert inspect.iscoroutinefunction(twin)
        assert twin.__doc__ == f"Await ``{name}``."
        made = [twin]
        if name != "__setitem__":  # written out, for what is assigned back
            made.append(getattr(live, name))
            assert not inspect.iscoroutinefunction(made[-1])
            assert made[-1].__doc__ == row.__doc__
        for method in made:
            assert inspect.signature(method) == inspect.signature(row)
            assert "Mutation" not in str(inspect.signature(method))
            assert method.__qualname__ == f"{live.__name__}.{method.__name__}"


def stubbed(live):
    """Return a class's functions in the stub, each with its overloads."""
    found = {}
    (node,) = (node for node in STUB.body if getattr(node, "name", "") == live.__name__)
    for function in node.body:
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            found.setdefault(function.name, []).append(function)
    return found


def shape(function):
    """Return the arguments of a stub's function, named and by kind."""
    arguments, kinds = function.args, inspect.Parameter
    shown = [(each.arg, kinds.POSITIONAL_ONLY) for each in arguments.posonlyargs]
    shown += [(each.arg, kinds.POSITIONAL_OR_KEYWORD) for each in arguments.args]
    shown += [(each.arg, kinds.KEYWORD_ONLY) for each in arguments.kwonlyargs]
    if arguments.vararg:
        shown.append((arguments.vararg.arg, kinds.VAR_POSITIONAL))
    if arguments.kwarg:
        shown.append((arguments.kwarg.arg, kinds.VAR_KEYWORD))
    return set(shown)


@pytest.mark.parametrize("live", [*TABLES, *NUMBERS])
def test_the_stub_is_of_these_classes(live):
    """Types have each a-twin and operator, with the arguments and the None of the real one."""
    found = stubbed(live)
    added = {
        name
        for name, method in vars(live).items()
        if inspect.iscoroutinefunction(method)
        or (live in NUMBERS and name in {"increment", "decrement"})
    }
    assert added == {name for name in found if not name.startswith("__")}
    for name, overloads in found.items():
        method = getattr(live, name)
        real = {(each.name, each.kind) for each in inspect.signature(method).parameters.values()}
        if name == "__getitem__":
            continue
        assert set().union(*map(shape, overloads)) == real, name
        for overload in overloads:
            assert isinstance(overload, ast.AsyncFunctionDef) == inspect.iscoroutinefunction(method)
            nothing = ast.unparse(overload.returns) == "None"
            if live in TABLES:
                returned = inspect.signature(method).return_annotation
                assert nothing == (returned == "None"), name


def test_live_types_are_what_maps_return():
    """The public names are the classes of what is read."""
    m = lpcm.LPCM("m", url="memory://")
    m.update(i=1, f=1.5, l=[], d={}, s={1})
    live = {key: type(m[key]).__name__ for key in m}
    assert live == {
        "i": "LiveInt",
        "f": "LiveFloat",
        "l": "LiveList",
        "d": "LiveDict",
        "s": "LiveSet",
    }
    assert all(type(m[key]) is getattr(lpcm, name) for key, name in live.items())
    assert (type(lpcm.LiveList([1])), type(lpcm.LiveInt(1))) == (list, int)


def test_annotations_at_run_time():
    """What subscripting gives may be left out, and live types take arguments."""
    assert lpcm.LPCM[str, int].__origin__ is lpcm.LPCM
    assert lpcm.LPCM[str, int, lpcm.LiveInt].__args__ == (str, int, lpcm.LiveInt)
    assert lpcm.LPCMSet[str, int].__origin__ is lpcm.LPCMSet
    assert lpcm.LiveList[int].__origin__ is lpcm.LiveList

    class Hits(lpcm.LPCM[str, int]):
        """A map of a kind of its own."""

    Hits("hits", url="memory://")["home"] = 1
    with pytest.raises(TypeError):
        lpcm.LPCM[str]
