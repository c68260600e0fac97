"""How many requests each idiom of dict sends to the store: what docs/reference/cost.md says.

The page is the table: every row's code is run here, on 2,500 entries, and counted.
"""

import re
from collections import deque
from pathlib import Path

import pytest

from lpcm import LPCM, Engine, transact
from lpcm.engine import config

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cost.md"
ROW = re.compile(
    r"^\| `(?P<code>[^`]+)` +\| (?P<requests>\d+) +\| (?P<kinds>.+?) +\|", re.MULTILINE
)
ROWS = [(row["code"], int(row["requests"]), row["kinds"]) for row in ROW.finditer(PAGE.read_text())]

IDIOMS = [
    'm["k"]',
    'm["k"]=1',
    'del:m["k"]',
    '"k":in:m',
    "bool(m)",
    "len(m)",
    "list(m)",
    "m.copy()",
    "dict(m.items())",
    "dict(m)",
    "m==m.copy()",
    "m==other",
    'm|{"e":2.7}',
    "7:in:m.values()",
    "repr(m)",
    "m.get_many(hundred)",
    "m.set_many(large)",
    "m.popitem()",
    "m.clear()",
    "m.update(other)",
    "reversed(m)",
    "set(m.keys())",
]


class Counting:
    """A store that counts the requests it passes on, by name."""

    rewrites = True

    def __init__(self, store):
        self._store = store
        self.requests = []

    def __getattr__(self, name):
        attribute = getattr(self._store, name)
        if name in {"form", "blocking", "close"}:
            return attribute

        async def counted(*args, **options):
            self.requests.append(name)
            return await attribute(*args, **options)

        return counted


def consume(iterable):
    deque(iterable, maxlen=0)


@pytest.fixture(scope="module", params=["memory", "sqlite"])
def engine(request, tmp_path_factory):
    """Yield an engine over a store that counts."""
    path = tmp_path_factory.mktemp("requests") / "m.sqlite3"
    url = "memory://" if request.param == "memory" else f"sqlite:///{path}?synchronous=normal"
    inner = Engine.open(url)
    counting = Engine(Counting(inner.store), config.parse(url))
    yield counting
    counting.close()
    inner.close()


@pytest.mark.parametrize(("code", "requests", "kinds"), ROWS, ids=[code for code, *_ in ROWS])
def test_cost(engine, code, requests, kinds):
    """An idiom sends exactly the requests that the page says."""
    m, other = LPCM("m", using=engine), LPCM("other", using=engine)
    entries = {n: n for n in range(2_497)}
    for each in (m, other):
        each.clear()
        each.update({**entries, "k": 0, "list": [], "bytes": b"value"})
    names = {
        "m": m,
        "other": other,
        "large": entries,
        "hundred": list(range(100)),
        "consume": consume,
        "transact": transact,
        "etag": m.entry("k").etag,
    }
    sent = engine.store.requests
    sent.clear()
    exec(code, names)
    counted = {name: sent.count(name) for name in dict.fromkeys(sent)}
    shown = ", ".join(f"{count} {name}" for name, count in counted.items()) or "none"
    assert (len(sent), shown) == (requests, kinds)


def test_the_page_has_every_idiom():
    """No idiom of dict is missing from the page."""
    there = {re.sub(r"\s", "", code).removeprefix("_=") for code, *_ in ROWS}
    for idiom in IDIOMS:
        wanted = idiom.replace(":", "") if ":" in idiom and '"e"' not in idiom else idiom
        assert any(wanted in code for code in there), idiom
