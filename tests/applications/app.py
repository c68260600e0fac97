"""The application that every server runs: WSGI as ``application``, ASGI as ``asgi``.

A request is ``/verb/who/number``; the reply is JSON, an exception is a 500 with its traceback.
Where a server imports it, the module uses its maps at once: a server that forks after that has
open connections and random numbers drawn in advance, which its workers must not share. Then it
says so in the log.
"""

from __future__ import annotations

import json
import os
import sys
import traceback

from lpcm import LPCM

FIXED = 200
"""Keys of the map that is only read: the value of each is known."""
BLOCK = 50
"""Numbers that share a list, so that no list grows with the length of the run."""

hits = LPCM("hits", default=0)
fixed = LPCM("fixed")
own = LPCM("own")
lists = LPCM("lists")
sessions = LPCM("sessions")


def expected(key):
    """Return the value of a key of ``fixed``, by which a reader knows whose it is."""
    return {"key": key, "text": f"value of {key} " * (1 + key % 7)}


def several(number):
    """Return the keys that the request of that number reads."""
    return [(number * 37 + step * 13) % FIXED for step in range(12)]


def block(who, number):
    """Return the key of the list to which this number belongs."""
    return f"{who}/{number // BLOCK}"


def warm():
    """Use every map, as code at import time does: a settings map, a cached feature flag."""
    fixed.set_many({key: expected(key) for key in several(0)})
    for key in several(0):
        assert fixed[key] == expected(key)
    hits.increment("imports")
    lists.setdefault("warm", []).append(os.getpid())
    own["warm"] = {"key": "warm", "number": 0}
    sessions.set("warm", {"number": 0}, ttl=3600)


def count(who, number):
    hits["all"] += 1
    return hits.increment(who)


def write(who, number):
    own[who] = {"key": who, "number": number}
    entry = own.entry(who)
    return {"value": entry.value, "etag": entry.etag}


def read(who, number):
    return own.get(who)


def many(who, number):
    return [fixed[key] for key in several(number)]


def append(who, number):
    lists.setdefault(block(who, number), []).append(number)
    lists.setdefault(block("all", number), []).append([who, number])


def session(who, number):
    found = sessions.get(who, {})
    sessions.set(who, {**found, "key": who, "number": number}, ttl=3600)
    return found


def ready(who, number):
    return None


VERBS = {verb.__name__: verb for verb in (count, write, read, many, append, session, ready)}


async def acount(who, number):
    await hits.aincrement("all")
    return await hits.aincrement(who)


async def awrite(who, number):
    await own.aset(who, {"key": who, "number": number})
    entry = await own.aentry(who)
    return {"value": entry.value, "etag": entry.etag}


async def aread(who, number):
    return await own.aget(who)


async def amany(who, number):
    return [await fixed.aget(key) for key in several(number)]


async def aappend(who, number):
    await lists.atransform(block(who, number), lambda old: [*old, number], [])
    await lists.atransform(block("all", number), lambda old: [*old, [who, number]], [])


async def asession(who, number):
    found = await sessions.aget(who, {})
    await sessions.aset(who, {**found, "key": who, "number": number}, ttl=3600)
    return found


async def aready(who, number):
    return None


AWAITED = {
    verb.__name__[1:]: verb for verb in (acount, awrite, aread, amany, aappend, asession, aready)
}


def asked(path):
    """Return the verb, the client and the number of a request."""
    _, verb, who, number = path.split("/")
    return verb, who, int(number)


def told(status, reply):
    """Return the body of a reply, with the process that it comes from."""
    return json.dumps({"pid": os.getpid(), "status": status, "reply": reply}).encode()


def application(environ, start_response):
    """Answer a request, as WSGI has it."""
    try:
        verb, who, number = asked(environ["PATH_INFO"])
        status, body = "200 OK", told(200, VERBS[verb](who, number))
    except Exception:  # noqa: BLE001  # the client shall see it
        status, body = "500 Internal Server Error", told(500, traceback.format_exc())
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response(status, headers)
    return [body]


async def asgi(scope, receive, send):
    """Answer a request, as ASGI has it."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    try:
        verb, who, number = asked(scope["path"])
        status, body = 200, told(200, await AWAITED[verb](who, number))
    except Exception:  # noqa: BLE001  # the client shall see it
        status, body = 500, told(500, traceback.format_exc())
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


if "APPLICATION_IS_SERVED" in os.environ:  # not where pytest looks for doctests
    warm()
    print("imported", file=sys.stderr, flush=True)
