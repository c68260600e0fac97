"""What the protocol's explorer takes for memcached is memcached: same commands, same replies."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from checks import servers
from checks.explorer.memcached_model import EMPTY, execute
from lpcm.ports import Get, Invalidate, Packet, Set
from lpcm.testing.contracts.cache import fresh_key
from tests.caches.drivers import awaitable, blocking

# Times no test lives to see the end of: what expires is not modelled.
TIMES = st.sampled_from([1_000, 2_000, 3_000])
DATA = st.sampled_from([b"", b"v", b"value", b"value+", b"+", b"\r\n", b"x" * 5_000])
# Which of the CAS ids seen so far, from the last; one too many for one that never was.
CAS = st.none() | st.integers(0, 4)
GETS = st.builds(Get, st.none() | TIMES, st.none() | TIMES, st.booleans())
HOW = st.tuples(st.just("S"), CAS) | st.tuples(st.sampled_from("SEA"), st.none())
SETS = DATA.flatmap(
    lambda data: st.builds(
        lambda base, ttl, how: Set(data, base, ttl, *how), st.integers(0, len(data)), TIMES, HOW
    )
)
INVALIDATIONS = st.builds(Invalidate, st.none() | TIMES, CAS)
COMMANDS = st.lists(GETS | SETS | INVALIDATIONS, min_size=1, max_size=30)


def with_cas(command, seen):
    """Return the command with a real CAS id in place of a place in the history."""
    back = getattr(command, "cas", None)
    if back is None:
        return command
    return command._replace(cas=seen[-1 - back] if back < len(seen) else 2**40)


def places(cas, seen):
    """Return where in the history the id stands."""
    return [place for place, each in enumerate(seen) if each == cas]


def compare(driven, commands):
    """Run the commands on both, and hold each reply of the one to that of the other."""
    key, model = fresh_key(), EMPTY
    real_ids, model_ids = [], []
    for command in commands:
        seen = driven.send(key, with_cas(command, real_ids))
        real = seen.results[0]
        model, expected = execute(model, with_cas(command, model_ids))
        assert real._replace(cas=0, ttl=0) == expected._replace(cas=0, ttl=0), command
        assert -2 <= expected.ttl - real.ttl <= 30 or real.ttl == expected.ttl == -1
        assert (real.cas == 0) == (expected.cas == 0), command
        if real.cas:
            # The ids themselves differ, but equal ones mean the same state on both.
            assert places(real.cas, real_ids) == places(expected.cas, model_ids)
            assert real.cas >= max(real_ids, default=0)
            real_ids.append(real.cas)
            model_ids.append(expected.cas)
    found = driven.look(key, 1_000)
    _, expected = execute(model, Get(1_000))
    base = expected.data[: expected.base]
    assert found == base if base else found.data == expected.data


@pytest.fixture(scope="module", params=["blocking", "awaitable", "memory"])
def driven(request, memcached):
    path = f"{memcached.host}:{memcached.port}"
    opened = {
        "blocking": lambda: blocking(path),
        "awaitable": lambda: awaitable(path),
        "memory": lambda: blocking("", "memory"),
    }
    with opened[request.param]() as driven:
        yield driven


@given(COMMANDS)
def test_one_at_a_time(driven, commands):
    """Any sequence of commands on one key is answered by memcached as by its model."""
    compare(driven, commands)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 3), GETS | SETS), min_size=1, max_size=60))
def test_pipelined(driven, numbered):
    """Many packets on several keys are answered as the model answers them one by one."""
    keys = [fresh_key() for _ in range(4)]
    commands = [(n, each._replace(cas=None) if type(each) is Set else each) for n, each in numbered]
    packets = [Packet(keys[n], (each,)) for n, each in commands]
    answers = driven.run(driven.cache.send_many(packets))
    models = dict.fromkeys(range(4), EMPTY)
    for (n, command), answer in zip(commands, answers, strict=True):
        models[n], expected = execute(models[n], command)
        assert answer.results[0]._replace(cas=0, ttl=0) == expected._replace(cas=0, ttl=0)


def test_without_room():
    """A server full to its last byte says TL or NS, and goes on: nothing is out of step."""
    with servers.memcached(4, ("-M",)) as server, blocking(f"{server.host}:{server.port}") as full:
        statuses = set()
        for n in itertools.count():
            status = full.do(f"full:{n}", Set(b"x" * 200_000, 5, 1_000)).status
            statuses.add(status)
            if status != "HD" or n > 1_000:
                break
        assert statuses == {"HD", "TL"}
        packet = (Set(b"y" * 200_000, 5, 1_000), Get(), Invalidate(), Get(1_000))
        replies = full.send("full:0", *packet).results
        assert replies[0].status == "TL"
        assert [each.status for each in replies[2:]] in (["HD", "VA"], ["NF", "VA"], ["NF", "TL"])
        assert full.look("full:1", 10) is not None
