"""CPython's own tests of mappings, on maps: what a plain dict passes, a map passes."""

import itertools
import unittest

import pytest
from test import mapping_tests  # in a Python that ships without it this module fails, loudly

from lpcm import LPCM, Engine

SUITES = (
    mapping_tests.BasicTestMappingProtocol,
    mapping_tests.TestMappingProtocol,
    mapping_tests.TestHashMappingProtocol,
)
TESTS = [
    (suite, name) for suite in SUITES for name in unittest.TestLoader().getTestCaseNames(suite)
]

ODD_KEYS = "keys are objects of a class of their own, which only a process's memory can hold"
COPY = "wants copy() to be of the map's class; it is a plain dict"
NOT = {
    "TestMappingProtocol.test_copy": COPY,
    "TestHashMappingProtocol.test_copy": COPY,
    "TestHashMappingProtocol.test_setdefault": ODD_KEYS,
    "TestHashMappingProtocol.test_getitem": ODD_KEYS,
    "TestHashMappingProtocol.test_pop": ODD_KEYS,
    "TestHashMappingProtocol.test_eq": ODD_KEYS,
    "TestHashMappingProtocol.test_repr": "a map's repr is its name, and reads nothing",
    "TestHashMappingProtocol.test_repr_deep": "stores a map in a map; and see test_repr",
}
DICT_PASSES_NOT: dict[str, str] = {}


def adapter(engine):
    """Return a subclass of LPCM that is made as a dict is, under a name nobody else has."""
    numbers = itertools.count()

    class Mapping(LPCM):
        def __init__(self, entries=(), /, **more):
            super().__init__(f"m{next(numbers)}", using=engine)
            self.update(entries, **more)

        @classmethod
        def fromkeys(cls, iterable, value=None):
            made = cls()
            for key in iterable:
                made[key] = value
            return made

    return Mapping


@pytest.fixture(params=["dict", "memory", "sqlite"])
def mapping(request, tmp_path):
    """Yield the class under test; dict itself is the control."""
    if request.param == "dict":
        yield dict
        return
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/m.sqlite3"
    engine = Engine.open(url, **({} if request.param == "memory" else {"synchronous": "normal"}))
    yield adapter(engine)
    engine.close()


@pytest.mark.parametrize(("suite", "name"), TESTS, ids=lambda it: getattr(it, "__name__", it))
def test_cpython(mapping, suite, name):
    """A test of CPython's passes, but for those listed above, which fail."""
    check(mapping, suite, name)


def check(mapping, suite, name):
    """Run a test of CPython's on a class."""
    case = type(suite.__name__, (suite,), {"type2test": mapping})(name)
    result = unittest.TestResult()
    case.run(result)
    assert result.testsRun == 1
    assert not result.skipped
    problems = [text for _, text in [*result.failures, *result.errors]]
    label = f"{suite.__name__}.{name}"
    if label in (DICT_PASSES_NOT if mapping is dict else NOT):
        assert problems, f"{label} passes by now: take it off the list"
    else:
        assert not problems, problems[0]


def test_the_list_is_of_tests_that_exist():
    """Every exception names a test, and few of them are exceptions."""
    labels = {f"{suite.__name__}.{name}" for suite, name in TESTS}
    assert set(NOT) <= labels
    assert len(labels) > 40
    assert len(NOT) < len(labels) / 4
