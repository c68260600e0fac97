"""An async function where a plain one is called, and a plain one where one is awaited."""

# ruff: noqa: F811  # fixtures, by their names

import asyncio
import warnings
from functools import partial

import pytest

import lpcm
from lpcm import LPCM, LPCMSet, events
from tests.dynamodb.conftest import dynoxide_table  # noqa: F401  # a fixture
from tests.map.test_transaction import engine, maps  # noqa: F401  # fixtures


@pytest.fixture(autouse=True)
def _one_error():
    """Nothing but the error is said: no coroutine that was made here is left unawaited."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


async def later(*_):
    """Do nothing."""


async def increment(m, t):
    """Add 1, in a transaction."""
    await t[m].aincrement("k")


@pytest.fixture(params=["async", "partial", "lambda"])
def async_function(request, maps):
    """Return a function of a transaction that gives something to await."""
    m, _ = maps
    if request.param == "async":

        async def add(t):
            await increment(m, t)

        return add
    return partial(increment, m) if request.param == "partial" else lambda t: increment(m, t)


def test_transact_names_its_twin(maps, async_function):
    """An async function, whatever it looks like, is an error, and writes nothing."""
    m, _ = maps
    with pytest.raises(TypeError, match=r"lpcm\.atransact\(fn\); nothing was written"):
        lpcm.transact(async_function)
    assert not m


def test_transact_drops_what_was_kept_before_an_awaitable(maps):
    """Writes that a plain function made before it returned an awaitable are not done."""
    m, _ = maps

    def both(t):
        t[m]["k"] = 1
        return later()

    with pytest.raises(TypeError, match="atransact"):
        lpcm.transact(both)
    assert not m


def test_atransact_takes_what_gives_an_awaitable(maps, async_function):
    """Each of those functions is right for ``atransact``."""
    m, _ = maps
    asyncio.run(lpcm.atransact(async_function))
    assert m["k"] == 1


def test_atransact_names_its_twin(maps):
    """A plain function is an error, and what it wrote is dropped."""
    m, _ = maps

    def plain(t):
        t[m]["k"] = 1
        return 1

    with pytest.raises(TypeError, match=r"returned 1: .*lpcm\.transact\(fn\); nothing was written"):
        asyncio.run(lpcm.atransact(plain))
    assert not m


def test_a_plain_function_that_reads_learns_what_to_await(maps):
    """Where a plain function would block the loop, the method to await is named."""
    m, _ = maps
    with pytest.raises(lpcm.LPCMError, match="await aincrement"):
        asyncio.run(lpcm.atransact(lambda t: t[m].increment("k")))
    assert not m


def calls(m):
    """Return each way to give a map a function whose result is stored."""
    return {
        "transform": lambda fn: m.transform("k", fn),
        "atransform": lambda fn: asyncio.run(m.atransform("k", fn)),
        "increment_existing": lambda fn: m.increment_existing("k", fn=fn),
        "aincrement_existing": lambda fn: asyncio.run(m.aincrement_existing("k", fn=fn)),
    }


@pytest.mark.parametrize("verb", calls(None))
@pytest.mark.parametrize("there", [False, True])
def test_verbs_name_what_to_do_instead(maps, verb, there):
    """An async function for ``transform`` is refused unread, in a transaction too."""
    m, _ = maps
    if there:
        m["k"] = 1
    with pytest.raises(TypeError, match=r"later is async: .*aentry.*areplace.*nothing was written"):
        calls(m)[verb](later)
    assert m.get("k") == (1 if there else None)


def test_verbs_in_a_transaction(maps):
    """The same error ends the transaction, with nothing written."""
    m, _ = maps
    with pytest.raises(TypeError, match="aentry"), lpcm.transaction() as t:
        t[m]["other"] = 1
        t[m].transform("k", later)
    assert not m


@pytest.mark.parametrize("cls", [LPCM, LPCMSet])
def test_a_default_is_plain(cls):
    """A map refuses an async default when it is made."""
    with pytest.raises(TypeError, match="a default is a plain function, and later is async"):
        cls("m", default=later)


def test_what_must_be_awaited_is_no_value(maps):
    """A forgotten ``await`` is named where its coroutine would be stored."""
    m, _ = maps
    coroutine = later()
    with pytest.raises(lpcm.ValueEncodingError, match="coroutine: await it"):
        m["k"] = coroutine
    coroutine.close()
    assert not m


def test_a_registered_class_has_plain_functions():
    """``register`` refuses async functions, which nobody would await."""
    with pytest.raises(lpcm.ConfigError, match="must not be async"):
        lpcm.register(type("Thing", (), {}), encode=later, decode=dict)


def test_a_listener_is_plain():
    """An async listener would never be awaited: ``subscribe`` refuses it."""
    with pytest.raises(TypeError, match="must not be async"), events.subscribe(later):
        pass
