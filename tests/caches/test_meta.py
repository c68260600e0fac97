"""The meta protocol as bytes: every reply in any pieces, garbage found out, nothing unsafe sent."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpcm.caches.memcached.meta import (
    MAX_DATA,
    OutOfStep,
    Parser,
    bases,
    encode,
    greeting_complete,
    login,
    lookup,
    records,
    server_checked,
)
from lpcm.ports import Get, Invalidate, Result, Set

FLAGS = {"cas": b"c", "base": b"f", "ttl": b"t", "size": b"s"}


@st.composite
def replies(draw):
    """Draw a result, and bytes a server may say it with."""
    status = draw(st.sampled_from(["VA", "HD", "EN", "NS", "EX", "NF"]))
    data = draw(st.binary(max_size=200)) if status == "VA" else b""
    fields = {
        "cas": draw(st.integers(0, 2**64 - 1)),
        "base": draw(st.integers(0, len(data))),
        "ttl": draw(st.integers(-1, 10**7)),
    }
    told = draw(st.lists(st.sampled_from(sorted(fields)), unique=True))
    marks = draw(st.lists(st.sampled_from("WXZ"), unique=True))
    if status not in {"VA", "HD"}:
        told, marks = [name for name in told if name == "cas"], []
    words = [status.encode()]
    if status == "VA":
        words.append(b"%d" % len(data))
    elif "base" in told:  # a base needs a size it is part of
        told.remove("base")
    words += [FLAGS[name] + b"%d" % fields[name] for name in told]
    words += [mark.encode() for mark in marks]
    trailing = draw(st.sampled_from([b"", b" "]))
    line = b" ".join(words) + trailing + b"\r\n" + (data + b"\r\n" if status == "VA" else b"")
    result = Result(status, data, size=len(data))._replace(
        **{name: fields[name] for name in told},
        won="W" in marks,
        stale="X" in marks,
        taken="Z" in marks,
    )
    return result, line


def cut(data, places):
    """Return the bytes in pieces."""
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[start:stop] for start, stop in pairwise(edges)]


@given(st.lists(replies(), max_size=20), st.lists(st.integers(0), max_size=10))
def test_any_pieces(wanted, places):
    """Replies are the same results however the network cuts them."""
    parser = Parser()
    found = []
    for piece in cut(b"".join(line for _, line in wanted), places):
        found += parser.feed(piece)
    assert found == [result for result, _ in wanted]
    assert not parser.pieces


@given(replies(), st.integers(0))
def test_an_unfinished_reply(reply, place):
    """A reply without its end is no result, and is not forgotten."""
    result, line = reply
    parser = Parser()
    part = place % len(line)
    assert parser.feed(line[:part]) == []
    assert (not parser.pieces) == (part == 0)
    assert parser.feed(line[part:]) == [result]


@given(st.lists(replies(), min_size=1, max_size=20), st.integers(0))
def test_replies_to_lookups(wanted, place):
    """In bulk, replies are read as one by one, when all are there; before, they are not."""
    ordered = [each for each in wanted if re.match(rb"(?!VA)|VA \d+ f", each[1])]
    data = b"".join(line for _, line in ordered) + b"MN\r\n"
    assert bases(data[: place % len(data)], len(ordered)) is None
    for (result, _), found in zip(ordered, bases(data, len(ordered)), strict=True):
        assert found == (result.data[: result.base] if result.base else result)


@given(st.lists(st.binary(max_size=60) | replies().map(lambda reply: reply[1]), max_size=8))
def test_garbage(pieces):
    """Whatever arrives, the parser returns results or says that it is out of step."""
    parser = Parser()
    try:
        for piece in pieces:
            for result in parser.feed(piece):
                assert type(result) is Result
                assert 0 <= result.base <= result.size
    except OutOfStep:
        pass


@pytest.mark.parametrize(
    "line",
    [
        b"ERROR\r\n", b"CLIENT_ERROR bad data chunk\r\n", b"CLIENT_ERROR\r\n", b"\r\n", b" \r\n",
        b"STORED\r\n", b"END\r\n", b"hd\r\n", b"HDX\r\n", b"HD q\r\n", b"HD cx\r\n", b"HD c\r\n",
        b"VA\r\n", b"VA \r\n", b"VA x\r\n", b"VA -1\r\n", b"VA 99999999999\r\n",
        b"VA 3 f1\r\nabcd\r\n", b"VA 3\r\nab\r\n\r\n", b"x" * 3_000,
    ],
)  # fmt: skip
def test_out_of_step(line):
    """A reply that belongs to no command of ours means that the connection is lost."""
    with pytest.raises(OutOfStep):
        Parser().feed(b"HD\r\n" + line)


def test_refused_for_want_of_room():
    """What the server could not store is a result, for it stays in step."""
    for reason in (b"object too large for cache", b"out of memory storing object"):
        assert Parser().feed(b"SERVER_ERROR %b\r\nHD\r\n" % reason) == [Result("TL"), Result("HD")]


def test_foreign_client_flags():
    """Client flags that another program set, larger than its value, make nothing servable."""
    (found,) = Parser().feed(b"VA 2 f1000 c1 t-1\r\nab\r\n")
    assert found.base == 0


TEXT = st.text(max_size=260) | st.text("ab:/ \r\n\x00", max_size=8)


@given(TEXT, st.integers(-5, 10**8), st.binary(max_size=30), st.integers(-5, 40))
def test_one_command_is_one_command(key, seconds, data, base):
    """Nothing that is encoded can be taken for more, or for another, than the one command."""
    for command in (
        Get(seconds),
        Get(None, seconds),
        Set(data, base, seconds),
        Set(data, base, seconds, "A"),
        Set(data, base, seconds, "E", 7),
        Invalidate(seconds, 7),
    ):
        try:
            (part,) = encode(key, [command])
        except ValueError:
            continue
        line, _, rest = part.partition(b"\r\n")
        assert re.fullmatch(rb"m[gsd] [!-~]{1,250}( [A-Za-z0-9]+)*", line)
        assert rest == (data + b"\r\n" if type(command) is Set else b"")
        if type(command) is Set:
            assert int(line.split()[2]) == len(data)
    try:
        line = lookup(key, 5)
    except ValueError:
        return
    assert [line] == encode(key, [Get(5)])


def test_too_large_is_not_sent():
    """A value over the server's limit stands as a command whose reply says so."""
    assert encode("k", [Set(b"x" * 2_000, 1, 9)], 2_000) == [b"mn\r\n"]
    assert Parser().feed(b"MN\r\n") == [Result("TL")]
    with pytest.raises(ValueError, match="more than memcached"):
        encode("k", [Set(range(MAX_DATA + 1), 1, 9)])


@given(st.lists(st.integers(1, 40_000), max_size=12))
def test_records(sizes):
    """Over TLS a write holds whole commands, and more than one record only for one command."""
    parts = [bytes([n % 256]) * size for n, size in enumerate(sizes)]
    joined = records(parts)
    assert b"".join(joined) == b"".join(parts)
    edges = {sum(sizes[:n]) for n in range(len(sizes) + 1)}
    at = 0
    for record in joined:
        at += len(record)
        assert at in edges
        assert len(record) <= 16_384 or record in parts


VERSION = b"VERSION %b\r\nSTAT pid 1\r\n%bSTAT item_size_max 1048576\r\nEND\r\n"
ON = b"STAT cas_enabled yes\r\n"


@pytest.mark.parametrize("version", [b"1.6.13", b"1.6.40", b"1.10.0", b"2.0", b"1.6.21-beta1"])
def test_a_server_that_will_do(version):
    """From 1.6.13 on, with CAS: the largest item it takes."""
    reply = VERSION % (version, ON)
    assert server_checked(reply) == 1_048_576
    assert not any(greeting_complete(reply[:length]) for length in range(len(reply)))
    assert greeting_complete(reply)


@pytest.mark.parametrize(
    "reply",
    [
        VERSION % (b"1.6.12", ON), VERSION % (b"1.5.99", ON), VERSION % (b"1", ON),
        VERSION % (b"", ON), VERSION % (b"UNKNOWN", ON), VERSION % (b"1.6.18", b""),
        VERSION % (b"1.6.18", b"STAT cas_enabled no\r\n"), b"VERSION 1.6.18\r\nERROR\r\n",
        b"ERROR Too many open connections\r\n", b"CLIENT_ERROR unauthenticated\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\nERROR ",
    ],
)  # fmt: skip
def test_a_server_that_will_not_do(reply):
    """Anything else is refused, for a reason one can read."""
    reason = server_checked(reply)
    assert isinstance(reason, str)
    assert len(reason) > 20
    assert greeting_complete(reply)


def test_login():
    """The first command of a login is memcached's ASCII handshake."""
    assert login("me", "pass word") == b"set lpcm 0 0 12\r\nme pass word\r\n"
