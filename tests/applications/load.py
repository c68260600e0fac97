"""Clients that load the application, know what it must answer, and check what it has stored.

Each client has keys of its own, so it knows each value that a read may give. A request without
a reply is *lost*: the server may have done it, or not. An answer that is no 200 is an error.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
import time
from collections import Counter

from lpcm import LPCM, Engine
from tests.applications.app import BLOCK, FIXED, expected, several
from tests.applications.serving import ROOT, environment

ROUND = ("count", "many", "write", "read", "append", "session", "many")
"""What a client asks, in each round; the round's number is the number it writes."""


class Client(threading.Thread):
    """One user, who asks in rounds and remembers what was acknowledged."""

    def __init__(self, name, port, rounds, *, relaxed, hurt):
        super().__init__(name=name)
        self._port = port
        self._rounds = rounds
        self._relaxed = relaxed
        self._hurt = hurt
        self._connection = None
        self.acknowledged = {verb: [] for verb in ROUND}
        self.lost = {verb: [] for verb in ROUND}
        self.errors = []
        self.wrong = []
        self.etags = []
        self.pids = set()
        self.slowest = 0.0

    def run(self):
        """Go through the rounds."""
        try:
            for number in range(1, self._rounds + 1):
                for verb in ROUND:
                    self.step(verb, number)
                    if self.errors or self.wrong or (self.lost[verb] and not self._hurt):
                        return
                self.hang_up()  # so that another worker may have the next round
        except Exception as error:  # noqa: BLE001  # a thread's exception would pass unseen
            self.errors.append(repr(error))
        finally:
            self.hang_up()

    def step(self, verb, number):
        """Ask once, and judge the answer."""
        began = time.monotonic()
        answer = self.ask(verb, number)
        self.slowest = max(self.slowest, time.monotonic() - began)
        if answer is None:
            self.lost[verb].append(number)
            return
        self.pids.add(answer["pid"])
        if answer["status"] != 200:
            self.errors.append((verb, number, answer["reply"]))
        elif not self.right(verb, number, answer["reply"]):
            self.wrong.append((verb, number, answer["reply"]))
        self.acknowledged[verb].append(number)

    def ask(self, verb, number):
        """Return the body of the answer, None where it is lost."""
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        try:
            self._connection.request("GET", f"/{verb}/{self.name}/{number}")
            reply = self._connection.getresponse()
            body = reply.read()
        except (OSError, http.client.HTTPException):
            self.hang_up()
            time.sleep(0.02)  # a server that is restarting refuses at once
            return None
        try:
            return json.loads(body)
        except ValueError:
            return {
                "pid": 0,
                "status": reply.status,
                "reply": body[-2000:].decode(errors="replace"),
            }

    def hang_up(self):
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def last(self, verb):
        """Return the numbers that a write may have left: the last acknowledged, or a lost one."""
        return {*self.acknowledged[verb][-1:], *self.lost[verb]}

    def right(self, verb, number, reply):
        """Tell whether this is an answer that this client may get."""
        match verb:
            case "count":
                done = len(self.acknowledged["count"]) + 1
                return reply in range(done, done + len(self.lost["count"]) + 1)
            case "many":
                return reply == [expected(key) for key in several(number)]
            case "write":
                self.etags.append(reply["etag"])
                return reply["value"] == {"key": self.name, "number": number}
            case "read":
                return self.mine("write", reply)
            case "session":
                return self.mine("session", reply)
        return True

    def mine(self, verb, value):
        """Tell whether a value is what one of this client's last writes of that kind has left."""
        if not value:
            return self._relaxed or not self.acknowledged[verb]
        numbers = self.last(verb)
        if self._relaxed:
            numbers.update(self.acknowledged[verb])
        return value in [{"key": self.name, "number": number} for number in numbers]


class Load:
    """What several clients did, together.

    ``hurt``: requests may be lost, for the server is killed or reloaded.
    ``relaxed``: a value may be an older one of the same key, for the cache is cut off.
    """

    def __init__(self, serving, *, rounds, clients=6, hurt=False, relaxed=False):
        self._hurt = hurt
        self._deadline = time.monotonic() + 120 + 4 * rounds
        self.clients = [
            Client(f"c{number}", serving.port, rounds, relaxed=relaxed, hurt=hurt)
            for number in range(clients)
        ]

    def __enter__(self):
        for client in self.clients:
            client.start()
        return self

    def __exit__(self, *_):
        for client in self.clients:
            client.join(max(0.0, self._deadline - time.monotonic()))
            assert not client.is_alive(), f"{client.name} waits for an answer"

    @property
    def working(self):
        """Whether some client is still asking."""
        return any(client.is_alive() for client in self.clients)

    @property
    def done(self):
        """How many requests were acknowledged so far."""
        return sum(len(numbers) for each in self.clients for numbers in each.acknowledged.values())

    @property
    def pids(self):
        """The processes that have answered."""
        return frozenset().union(*[client.pids.copy() for client in self.clients])

    def faults(self):
        """Return what must be empty: errors, wrong answers, equal etags, lost requests."""
        etags = Counter(etag for client in self.clients for etag in client.etags)
        found = {
            "errors": [(c.name, each) for c in self.clients for each in c.errors],
            "wrong": [(c.name, each) for c in self.clients for each in c.wrong],
            "equal etags": [etag for etag, times in etags.items() if times > 1],
        }
        if not self._hurt:
            found["lost"] = [
                (c.name, verb, each)
                for c in self.clients
                for verb in ROUND
                for each in c.lost[verb]
            ]
        return {name: (len(each), each[:3]) for name, each in found.items() if each}

    def differences(self, stored):
        """Return where ``stored``, what ``look`` has returned, is not what was acknowledged."""
        found = []

        def check(what, ok, got):
            if not ok:
                found.append((what, got))

        counted = [(len(c.acknowledged["count"]), len(c.lost["count"])) for c in self.clients]
        for client, (sure, maybe) in zip(self.clients, counted, strict=True):
            hits = stored["hits"].get(client.name, 0)
            check(f"hits of {client.name}: {sure} + {maybe}", sure <= hits <= sure + maybe, hits)
            for verb, name in (("write", "own"), ("session", "sessions")):
                value = stored[name].get(client.name)
                numbers = client.last(verb)
                check(f"{name} of {client.name}: {numbers}", client.mine(verb, value), value)
        sure, maybe = (sum(each) for each in zip(*counted, strict=True))
        total = stored["hits"].get("all", 0)
        check(f"hits of all: {sure} + {maybe}", sure <= total <= sure + maybe, total)
        for client in self.clients:
            sure, maybe = client.acknowledged["append"], client.lost["append"]
            for what, numbers in self.appended(client.name, stored["lists"]).items():
                missing = set(sure) - set(numbers)
                check(f"{what} list of {client.name} lacks", not missing, missing)
                more = Counter(numbers) - Counter(sure + maybe)
                check(f"{what} list of {client.name} has too much", not more, more)
        wrong = {k: value for k, value in stored["fixed"].items() if value != expected(int(k))}
        check("fixed", not wrong and len(stored["fixed"]) == FIXED, wrong)
        return found

    @staticmethod
    def appended(name, lists):
        """Return what of a client is in its own lists, and in those of all."""
        found = {"own": [], "shared": []}
        for key, items in lists.items():
            who, _, place = key.partition("/")
            if who == name:
                found["own"] += [number for number in items if number // BLOCK == int(place)]
            elif who == "all":
                found["shared"] += [number for whose, number in items if whose == name]
        return found


def prepare(url, namespace):
    """Write what is only read."""
    engine = Engine.open(url, namespace=namespace)
    LPCM("fixed", using=engine).set_many({key: expected(key) for key in range(FIXED)})
    engine.close()


def look():
    """Return all that is stored, each key read by itself: from the cache where it is there."""
    names = [f"c{number}" for number in range(64)]
    found = {"fixed": {str(key): LPCM("fixed").get(key) for key in range(FIXED)}}
    for name in ("hits", "own", "sessions"):
        m = LPCM(name, live=False)
        found[name] = {key: m.get(key) for key in ["all", *names] if key in m}
    lists = LPCM("lists", live=False)
    found["lists"] = {key: lists[key] for key in lists.keys()}  # noqa: SIM118  # not a dict
    return found


def stored(url, namespace):
    """Return what ``look`` finds in a process that has seen nothing."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.applications.load"],
        cwd=ROOT,
        env=environment(url, namespace),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


if __name__ == "__main__":
    print(json.dumps(look()))
