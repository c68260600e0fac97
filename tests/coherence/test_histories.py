"""Real processes on real servers, hurt: their histories hold the promise, mistakes are found.

For minutes: ``make check-coherence``.
"""

import json

import pytest

from checks import histories, servers
from lpcm.verify import Stale, _stale, play
from lpcm.verify.client import opened
from lpcm.verify.judge import Operation, judge, operations, smallest

NEVER = float("inf")


@pytest.fixture(params=histories.STORES)
def store(request, monkeypatch):
    """Name a store."""
    for name, value in servers.AWS.items():
        monkeypatch.setenv(name, value)
    return request.param


@pytest.mark.timeout(120)
@pytest.mark.parametrize("strict", [True, False], ids=["strict", "available"])
def test_the_promise_holds(store, strict, tmp_path):
    """Under faults every key's history is explained, and the cache ends as the store is."""
    with histories.own(store, tmp_path, strict=strict) as target:
        for seed in (1, 2):
            played = play(target, tmp_path, seconds=2.0, seed=seed)
            assert played.broken is None, str(played.broken)
            assert played.operations > 0
            assert sum(played.counts[name] > 0 for name in target.faults) >= 2, played.counts


def test_an_error_that_is_not_documented_is_found(tmp_path, capfd):
    """A client's operation raises what no caller expects: the round fails, and shows it."""
    tier = "tests.coherence.real_mutants:Failing"
    with (
        histories.own("sqlite", tmp_path, strict=True) as target,
        pytest.raises(RuntimeError, match="ended with 1"),
    ):
        play(target, tmp_path, seconds=2.0, seed=1, tier=tier, kinds="simple", gently=True)
    assert "RuntimeError: deque mutated" in capfd.readouterr().err


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("mutant", "kinds"),
    [("SetThrough", "all"), ("DeleteAfterWrite", "all"), ("LeaseWithoutR1", "simple")],
)
def test_a_mistake_is_found(mutant, kinds, tmp_path, monkeypatch):
    """What is often done instead of the protocol is found wrong within seconds."""
    for name, value in servers.AWS.items():
        monkeypatch.setenv(name, value)
    tier = f"tests.coherence.real_mutants:{mutant}"
    with histories.own("dynamodb", tmp_path, strict=True) as target:
        for seed in range(60):
            seconds = (
                1.0 + seed / 15
            )  # where the machine is busy, its clients do little in a second
            played = play(
                target, tmp_path, seconds=seconds, seed=seed, tier=tier, kinds=kinds, gently=True
            )
            if played.broken is not None:
                print(played.broken)
                return
    pytest.fail("60 rounds, and nothing was found")


def put(value, began, ended, client=1):
    return Operation(client, "k", "put", value, None, began, ended)


def get(value, began, ended, client=2):
    return Operation(client, "k", "get", None, value, began, ended)


EXPLAINED = {
    "nothing": [],
    "one after another": [put(1000, 0, 1), get(1000, 2, 3)],
    "overlapping": [put(1000, 0, 9), get(None, 1, 2), get(1000, 3, 4)],
    "a read that began before": [get(None, 0, 9), put(1000, 1, 2), get(1000, 3, 4, 3)],
    "never told, and seen": [put(1000, 0, NEVER), get(1000, 5, 6)],
    "never told, and not seen": [put(1000, 0, NEVER), get(None, 5, 6)],
    "counted": [
        Operation(1, "k", "add", 1, 1, 0, 1),
        Operation(2, "k", "add", 1, 2, 0, 2),
        Operation(2, "k", "pop", None, 2, 3, 4),
        Operation(2, "k", "new", 3000, 3000, 5, 6),
        Operation(2, "k", "del", None, None, 7, 8),
        get(None, 9, 10),
    ],
}
UNEXPLAINED = {
    "an old value": [put(1000, 0, 1), put(2000, 2, 3), get(1000, 4, 5)],
    "back again": [put(1000, 0, 1), put(2000, 2, 9), get(2000, 3, 4), get(1000, 5, 6)],
    "from nowhere": [put(1000, 0, 1), get(7000, 2, 3)],
    "before it was written": [get(1000, 0, 1), put(1000, 2, 3)],
    "counted twice": [
        Operation(1, "k", "add", 1, 1, 0, 1),
        Operation(2, "k", "add", 1, 3, 2, 3),
    ],
    "taken twice": [
        put(1000, 0, 1),
        Operation(1, "k", "pop", None, 1000, 2, 5),
        Operation(2, "k", "pop", None, 1000, 3, 6),
    ],
    "never told, seen and gone": [
        put(1000, 0, 1),
        put(2000, 2, NEVER),
        get(2000, 3, 4),
        get(1000, 5, 6),
    ],
}


@pytest.mark.parametrize("name", EXPLAINED)
def test_what_is_explained(name):
    """The judge finds an order where there is one."""
    assert judge(EXPLAINED[name]) is None
    assert judge(EXPLAINED[name], relaxed=True) is None


@pytest.mark.parametrize("name", UNEXPLAINED)
def test_what_is_not_explained(name):
    """The judge finds that there is none, and names the key."""
    violation = judge(UNEXPLAINED[name])
    assert violation is not None
    assert violation.key == "k"
    assert "no order explains" in str(violation)


def test_old_reads_may_be_judged_mildly():
    """In ``available`` mode a read may be old, but not of what never was, nor may a write be."""
    assert judge(UNEXPLAINED["an old value"], relaxed=True) is None
    for name in ("from nowhere", "before it was written", "counted twice", "taken twice"):
        assert judge(UNEXPLAINED[name], relaxed=True) is not None, name


def test_a_violation_is_made_small():
    """What a violation does not need is left out, and what is left still is one."""
    noise = [
        each for n in range(50) for each in (put(n * 9000, n, n + 1), get(n * 9000, n + 2, n + 3))
    ]
    noise = [each for each in noise if judge([each]) is None]
    history = [*noise, put(1000, 200, 201), put(2000, 202, 203), get(1000, 204, 205)]
    found = smallest(judge(history))
    assert found.history == tuple(history[-3:]) or found.history == history[-3:]


def test_a_torn_log_is_read(tmp_path):
    """A client killed amid a line leaves what it had begun, and no more."""
    rows = [
        ["begin", 1, 1, 10, "k", "put", 1000],
        ["end", 2, 1, "done", None],
        ["begin", 3, 2, 10, "k", "put", 2000],
        ["end", 4, 2, "unknown", None],
        ["begin", 5, 3, 10, "k", "put", 3000],
        ["end", 6, 3, "not", None],
        ["begin", 7, 4, 10, "k", "put", 4000],
    ]
    text = "".join(f"{json.dumps(row)}\n" for row in rows) + '["end", 8, 4, "do'
    (tmp_path / "log").write_text(text)
    found = operations([tmp_path / "log"])
    assert [(each.argument, each.ended) for each in found] == [
        (1000, 2),
        (2000, NEVER),
        (4000, NEVER),
    ]


@pytest.mark.timeout(60)
def test_what_would_be_served_for_good_is_found(tmp_path):
    """An item that differs from the store when all is quiet, and stays, is found."""
    with servers.memcached() as memcached:
        url = f"sqlite:///{tmp_path}/m.sqlite3?cache=memcached://{memcached.host}:{memcached.port}"
        engine, _ = opened(url)
        from lpcm import LPCM
        from lpcm.verify.client import MAP

        m = LPCM(MAP, using=engine)
        m["a"], m["b"] = 1, 2
        assert _stale(url, ["a", "b", "c"]) is None
        LPCM(MAP, url=url.partition("?")[0])["b"] = 3
        assert _stale(url, ["a", "b", "c"]) == Stale("b", 2, 3)
        engine.close()
        import lpcm

        lpcm.close()
