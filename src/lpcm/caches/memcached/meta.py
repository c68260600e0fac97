"""memcached's meta protocol: commands to bytes, and replies, in pieces of any size, to results.

Knows no socket. Invariant: an encoded command cannot put the connection out of step. (A server
answers a refused ``ms`` header with an error and then reads the value as commands.) So keys, times
and lengths are checked here. A reply that fits no command raises ``OutOfStep``, after which the
connection can only be closed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from lpcm.ports import CacheLost, Get, Invalidate, Result, Set

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lpcm.ports import Command

__all__ = [
    "GREETING",
    "LONGEST",
    "MAX_DATA",
    "MAX_KEY",
    "OutOfStep",
    "Parser",
    "bases",
    "encode",
    "greeting_complete",
    "login",
    "lookup",
    "lookups",
    "records",
    "server_checked",
]

LONGEST: Final = 30 * 24 * 3600
"""Seconds; memcached reads a longer time to live as a date."""
MAX_KEY: Final = 250
"""Bytes."""
MAX_DATA: Final = 1 << 30
"""Bytes of the largest value that any memcached can be configured to take."""
_ITEM: Final = 80
"""Bytes of an item beside its key and data, with a margin."""
_SHORT: Final = 16
_MOST_AROUND: Final = 1000
_MAX_LINE: Final = 2048
_MAX_GREETING: Final = 65_536
"""Bytes of the answer to ``GREETING``, which has some 3,000."""
_RECORD: Final = 16_000
"""Bytes for one TLS record, which may hold 16,384."""
_OLDEST: Final = (1, 6, 13)


class OutOfStep(CacheLost):
    """The server's reply fits no command; close the connection."""


# To the server


def _key(key: str) -> str:
    if not (0 < len(key) <= MAX_KEY and key.isascii() and key.isprintable()) or " " in key:
        raise ValueError(f"no key for memcached: {key!r}")
    return key


def _seconds(amount: int) -> int:
    if not 1 <= amount <= LONGEST:
        raise ValueError(f"seconds must be 1 to {LONGEST} (30 days), not {amount}")
    return amount


def lookup(key: str, lease: int) -> bytes:
    r"""Return ``Get(lease)`` as bytes: the one command of a look.

    >>> lookup("k", 5)
    b'mg k N5 v f c t\r\n'
    >>> lookup("a key", 5)
    Traceback (most recent call last):
        ...
    ValueError: no key for memcached: 'a key'
    """
    # _key, without the call.
    if not (0 < len(key) <= MAX_KEY and key.isascii() and key.isprintable()) or " " in key:
        raise ValueError(f"no key for memcached: {key!r}")
    return f"mg {key} N{lease} v f c t\r\n".encode()


def lookups(keys: Sequence[str], lease: int) -> bytes:
    r"""Return the lookup of each key, and ``mn``, whose reply ends the replies.

    >>> lookups(["a", "b"], 5)
    b'mg a N5 v f c t\r\nmg b N5 v f c t\r\nmn\r\n'
    """
    text = "".join(keys)  # checked at once: one by one takes as long as the lookups
    if not (text.isascii() and text.isprintable()) or " " in text or not all(keys):
        for key in keys:
            _key(key)
    if max(map(len, keys)) > MAX_KEY:
        raise ValueError(f"no key for memcached: {max(keys, key=len)!r}")
    flags = f" N{lease} v f c t\r\n"
    return f"mg {f'{flags}mg '.join(keys)}{flags}mn\r\n".encode()


def bases(data: bytes, count: int, limit: int = MAX_DATA) -> list[bytes | Result] | None:
    r"""Return the replies to ``lookups``: the base where there is one; None: data are missing.

    >>> bases(b"VA 3 f2 c7 t9\r\nab+\r\nVA 0 f0 c8 t5 W\r\n\r\nMN\r\n", 2)
    [b'ab', Result(status='VA', data=b'', cas=8, size=0, base=0, ttl=5, won=True, ...)]
    """
    results: list[bytes | Result] = []
    at = size = base = 0
    like = b"\0"  # the beginning of the last reply with a base: many replies have one length
    try:
        for _ in range(count):
            if data.startswith(like, at):
                start = data.find(b"\n", at) + 1
                if not start:
                    return None
                at = start + size + 2
                results.append(data[start : start + base])
                continue
            end = data.find(b"\r\n", at)
            if end < 0:
                return None
            start = end + 2
            if not data.startswith(b"VA ", at):
                results.append(_line(data[at:end]))
                at = start
                continue
            words = data[at + 3 : end].split()
            size, base = int(words[0]), int(words[1][1:])
            if not 0 <= size <= limit:
                raise OutOfStep(f"a value of {size} bytes")
            at = start + size + 2
            if 0 < base <= size:
                like = b"VA %b %b " % (words[0], words[1])
                results.append(data[start : start + base])
            elif at > len(data):
                return None
            else:
                results.append(_result("VA", words, data[start : at - 2], size))
                like = b"\0"
    except (ValueError, IndexError) as error:
        raise OutOfStep(f"not a reply: {data[at : at + 80]!r}") from error
    if data[at:] == b"MN\r\n":
        return results
    if len(data) >= at + 4:
        raise OutOfStep("other replies than to lookups")
    return None


def encode(key: str, commands: Iterable[Command], limit: int = MAX_DATA) -> list[bytes]:
    r"""Return the commands on one key as bytes to send, each whole.

    The server would refuse a ``Set`` of an item over ``limit`` bytes. In its place ``mn`` is sent,
    whose reply is read as TL.

    >>> encode("k", [Set(b"ab+", 2, 60, cas=7), Invalidate()])
    [b'ms k 3 C7 F2 T60 c\r\nab+\r\n', b'md k I\r\n']
    >>> encode("k", [Get(lease=0)])
    Traceback (most recent call last):
        ...
    ValueError: seconds must be 1 to 2592000 (30 days), not 0
    """
    global _last  # noqa: PLW0603  # a pair, replaced whole: threads see an old one or a new one
    # _key, without the call.
    if not (0 < len(key) <= MAX_KEY and key.isascii() and key.isprintable()) or " " in key:
        raise ValueError(f"no key for memcached: {key!r}")
    last = _last
    if commands is last[0]:
        return [f"{start}{key}{end}".encode("latin-1") for start, end in last[1]]
    parts: list[bytes] = []
    arounds: list[tuple[str, str]] = []
    for command in commands:
        if type(command) is Set and (command[4] is not None or len(command[0]) > _SHORT):
            data, base, ttl, mode, cas = command
            size = len(data)
            if mode == "S" and cas is not None and 0 <= base <= size and 1 <= ttl <= LONGEST:
                # A publication: _header without its call.
                header = f"ms {key} {size} C{cas:d} F{base} T{ttl} c\r\n".encode()
            else:
                header = _header(key, command)
            if size + len(key) + _ITEM > limit:
                parts.append(b"mn\r\n")
            else:
                parts.append(b"%b%b\r\n" % (header, data))
        else:
            around = _around.get(command)
            if around is None:
                if len(_around) >= _MOST_AROUND:
                    _around.clear()
                around = _around[command] = _template(command)
            arounds.append(around)
            parts.append(f"{around[0]}{key}{around[1]}".encode("latin-1"))
    if type(commands) is tuple and len(arounds) == len(parts) > 1:
        _last = commands, arounds
    return parts


# The same few commands are sent for all keys. So the text before and after the key is made and
# checked once for each command. Its data are bytes, one character each.
_around: dict[Command, tuple[str, str]] = {}
# The last sequence of commands and their texts: in bulk the same sequence is sent for every key.
_last: tuple[object, list[tuple[str, str]]] = None, []


def _template(command: Command) -> tuple[str, str]:
    match command:
        case Get(lease, touch, value):
            rest = ""  # memcached obeys flags in their order: t must return the new time
            if touch is not None:
                rest += f" T{_seconds(touch)}"
            if lease is not None:
                rest += f" N{_seconds(lease)}"
            return "mg ", f"{rest} {'v' if value else 's'} f c t\r\n"
        case Set():
            header = _header("", command).decode()
            return "ms ", f"{header[3:]}{command.data.decode('latin-1')}\r\n"
        case Invalidate(ttl, cas):
            rest = " I"
            if ttl is not None:
                rest += f" T{_seconds(ttl)}"
            if cas is not None:
                rest += f" C{cas:d}"
            return "md ", f"{rest}\r\n"


def records(parts: Iterable[bytes]) -> list[bytes]:
    """Join commands into the records to send over TLS, each in a write of its own.

    memcached takes one TLS record from OpenSSL at a time. Where a command goes on in the next
    record, or another command follows a value, memcached leaves the rest with OpenSSL until more
    data arrive. So a record holds whole commands, and a value over several records ends the last.
    """
    joined: list[bytes] = []
    waiting: list[bytes] = []
    size = 0
    for part in parts:
        if size + len(part) > _RECORD and waiting:
            joined.append(b"".join(waiting))
            waiting.clear()
            size = 0
        waiting.append(part)
        size += len(part)
    joined.append(b"".join(waiting))
    return joined


def _header(key: str, command: Set) -> bytes:
    data, base, ttl, mode, cas = command
    if len(data) > MAX_DATA:
        raise ValueError(f"{len(data):,} bytes are more than memcached ever takes")
    if cas is not None and mode != "S":
        raise ValueError(f"a CAS id with mode {mode!r} of a Set")
    if mode == "A":
        return f"ms {key} {len(data)} MA c\r\n".encode()
    if not 0 <= base <= len(data):
        raise ValueError(f"a base of {base} bytes in {len(data)}")
    line = f"ms {key} {len(data)}"
    if mode == "E":
        line += " ME"
    elif mode != "S":
        raise ValueError(f"no mode of a Set: {mode!r}")
    if cas is not None:
        line += f" C{cas:d}"
    return f"{line} F{base} T{_seconds(ttl)} c\r\n".encode()


# From the server

_C, _F, _S, _T, _W, _X, _Z = b"cfstWXZ"
_SEEN: Final = [_S, _F, _C, _T]
_PLAIN = {
    b"HD": Result("HD"),
    b"EN": Result("EN"),
    b"NS": Result("NS"),
    b"EX": Result("EX"),
    b"NF": Result("NF"),
    b"MN": Result("TL"),  # sent in place of an item that is too large: see encode
}
_WHOLE = {
    **_PLAIN,
    **{status + b" c0": _PLAIN[status] for status in (b"NS", b"EX", b"NF")},
}
_FAILED: Final = Result("TL")
_new = tuple.__new__  # Result(...) takes twice as long


class Parser:
    r"""The parser of one connection's replies, which arrive in pieces.

    ``limit``: bytes of the largest value, as the server says in its greeting.

    >>> parser = Parser()
    >>> parser.feed(b"HD c5\r\nVA 3 f2 c7 t-1 W\r\nab")
    [Result(status='HD', data=b'', cas=5, ...)]
    >>> parser.feed(b"+\r\n")
    [Result(status='VA', data=b'ab+', cas=7, size=3, base=2, ttl=-1, won=True, ...)]
    >>> parser.feed(b"CLIENT_ERROR bad data chunk\r\n")
    Traceback (most recent call last):
        ...
    lpcm.caches.memcached.meta.OutOfStep: ...
    """

    __slots__ = ("_have", "_need", "limit", "pieces")

    def __init__(self, limit: int = MAX_DATA) -> None:
        self.limit = limit
        self.pieces: list[bytes] = []
        """The begun reply; empty between replies."""
        self._have = 0
        self._need = 0

    def feed(self, data: bytes) -> list[Result]:
        """Return the results that are complete now.

        **Raises** OutOfStep for data that are no reply to a command of ``encode``.
        """
        if self.pieces:
            self.pieces.append(data)
            self._have += len(data)
            if self._have < self._need:  # a long value: not searched again for each piece
                return []
            data = b"".join(self.pieces)
            self.pieces.clear()
        results: list[Result] = []
        at, length = 0, len(data)
        try:
            if b"VA" not in data:  # lines alone, as after writes
                lines = data.split(b"\r\n")
                rest = lines.pop()
                if rest:
                    if len(rest) > _MAX_LINE:
                        raise OutOfStep("a reply without an end")
                    self._keep(rest, 0, len(rest) + 1)
                return [_line(line) for line in lines]
            while at < length:
                end = data.find(b"\r\n", at)
                if end < 0:
                    if length - at > _MAX_LINE:
                        raise OutOfStep("a reply without an end")
                    self._keep(data, at, length - at + 1)
                    break
                if data.startswith(b"VA ", at):
                    words = data[at + 3 : end].split()
                    size = int(words[0])
                    start = end + 2
                    stop = start + size
                    if size < 0 or size > self.limit:
                        raise OutOfStep(f"a value of {size} bytes")
                    if stop + 2 > length:
                        self._keep(data, at, stop + 2 - at)
                        break
                    if data[stop : stop + 2] != b"\r\n":
                        raise OutOfStep("a value longer than it says")
                    results.append(_result("VA", words, data[start:stop], size))
                    at = stop + 2
                else:
                    results.append(_line(data[at:end]))
                    at = end + 2
        except (ValueError, IndexError) as error:
            raise OutOfStep(f"not a reply: {data[at : at + 80]!r}") from error
        return results

    def _keep(self, data: bytes, at: int, need: int) -> None:
        self.pieces.append(data[at:])
        self._have = len(data) - at
        self._need = need


def _result(status: str, words: list[bytes], data: bytes, size: int) -> Result:
    if len(words) == 5 and words[4] == b"W" and words[1] == b"f0":  # a miss, and its stub won
        _, _, cas_word, ttl_word, _ = words
        if cas_word[0] == _C and ttl_word[0] == _T:
            cas, ttl = int(cas_word[1:]), int(ttl_word[1:])
            return _new(Result, (status, data, cas, size, 0, ttl, True, False, False))
    cas = base = 0
    ttl = -1
    won = stale = taken = False
    for word in words[1:]:
        flag = word[0]
        if flag == _F:
            base = int(word[1:])
        elif flag == _C:
            cas = int(word[1:])
        elif flag == _T:
            ttl = int(word[1:])
        elif flag == _S:
            size = int(word[1:])
        elif flag == _W:
            won = True
        elif flag == _X:
            stale = True
        elif flag == _Z:
            taken = True
        else:
            raise OutOfStep(f"a flag that was not asked for: {word!r}")
    if not 0 <= base <= size:  # another program's item, with client flags of another meaning
        base = 0
    return _new(Result, (status, data, cas, size, base, ttl, won, stale, taken))


def _line(line: bytes) -> Result:
    known = _WHOLE.get(line)
    if known is not None:
        return known
    words = line.split()  # up to 1.6.17 a space may trail
    status = words[0]
    if status == b"HD":  # the most frequent: the replies to a publication, and to a mark's look
        if len(words) == 2 and words[1][0] == _C:
            return _new(Result, ("HD", b"", int(words[1][1:]), 0, 0, -1, False, False, False))
        if len(words) == 5 and [word[0] for word in words[1:]] == _SEEN:
            size, base, cas, ttl = [int(word[1:]) for word in words[1:]]
            if 0 <= base <= size:
                return _new(Result, ("HD", b"", cas, size, base, ttl, False, False, False))
    if status in _PLAIN:
        plain = _PLAIN[status]
        return plain if len(words) == 1 else _result(plain.status, words, b"", 0)
    if status == b"SERVER_ERROR":
        return _FAILED
    raise OutOfStep(f"not a reply: {line[:80]!r}")


# Greeting

GREETING: Final = b"version\r\nstats settings\r\n"


def login(user: str, password: str) -> bytes:
    """Return the first command to a server that requires a user and password."""
    words = f"{user} {password}".encode()
    return b"set lpcm 0 0 %d\r\n%b\r\n" % (len(words), words)


def greeting_complete(reply: bytes) -> bool:
    """Tell whether the reply to ``GREETING`` is complete.

    **Raises** OutOfStep where the reply is longer than any memcached's.
    """
    if len(reply) > _MAX_GREETING:
        raise OutOfStep(f"no end of its greeting after {len(reply):,} bytes")
    return reply.endswith((b"END\r\n", b"ERROR\r\n")) or b"ERROR " in reply


def server_checked(reply: bytes) -> int | str:
    r"""Return the bytes of the largest item that the server takes, by its reply to ``GREETING``.

    A str: why the server cannot be used.

    >>> settings = b"STAT cas_enabled yes\r\nSTAT item_size_max 1048576\r\nEND\r\n"
    >>> server_checked(b"VERSION 1.6.18\r\n" + settings)
    1048576
    >>> server_checked(b"VERSION 1.5.22\r\nSTAT cas_enabled yes\r\nEND\r\n")
    'memcached 1.5.22 is too old: lpcm needs 1.6.13 or newer'
    >>> server_checked(b"VERSION 1.6.18\r\nSTAT cas_enabled no\r\nEND\r\n")
    'CAS is off, without which no cache is coherent: start memcached without -C'
    """
    first, *lines = reply.split(b"\r\n")
    if not first.startswith(b"VERSION "):
        return f"no memcached, or one that refuses us: it says {first[:80]!r}"
    version = first[8:].decode("ascii", "replace").strip()
    if _release(version) < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        return f"memcached {version} is too old: lpcm needs {oldest} or newer"
    if b"STAT cas_enabled no" in lines:
        return "CAS is off, without which no cache is coherent: start memcached without -C"
    if b"STAT cas_enabled yes" not in lines:
        return "it does not say whether CAS is on (`stats settings`): is a proxy in between?"
    for line in lines:
        if line.startswith(b"STAT item_size_max ") and line[19:29].isdigit():
            return min(int(line[19:29]), MAX_DATA)
    return MAX_DATA


def _release(version: str) -> tuple[int, ...]:
    numbers: list[int] = []
    for part in version.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))][:9]
        numbers.append(int(digits) if digits else 0)
    return tuple(numbers)
