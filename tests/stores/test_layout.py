"""Files that earlier versions wrote are read for ever: what docs/explanation/sqlite-layout.md says.

``FORMAT_1`` is what version 0 of the project wrote, as SQL: never changed, only added to.
"""

import sqlite3
from contextlib import closing
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pytest

from lpcm import LPCM, Engine, maps
from tests.strategies import same

FORMAT_1 = """
PRAGMA journal_mode = WAL;
CREATE TABLE entries(pk TEXT NOT NULL, sk TEXT NOT NULL,
    t TEXT, etag INTEGER NOT NULL, x REAL, v, PRIMARY KEY(pk, sk));
CREATE INDEX expiry ON entries(x) WHERE x IS NOT NULL;
CREATE TABLE maps(pk TEXT PRIMARY KEY, namespace TEXT NOT NULL, name TEXT NOT NULL,
    format INTEGER NOT NULL, codec TEXT NOT NULL, shards INTEGER NOT NULL);
PRAGMA application_id = 1280328525;
PRAGMA user_version = 1;
INSERT INTO maps VALUES('default/shop/', 'default', 'shop', 1, 'typed', 1);
INSERT INTO entries VALUES
    ('default/shop/', 'pi', NULL, 1, NULL, 3.1415),
    ('default/shop/', 'text', NULL, -2, NULL, 'één'),
    ('default/shop/', '!?', NULL, 3, NULL, 7),
    ('default/shop/', '!1a7', NULL, 4, NULL, x'00ff'),
    ('default/shop/', '!:eu !1a7 ', 'json', 5, NULL, 'true'),
    ('default/shop/', 'alive', 'json', 6, 4102444800, 'null'),
    ('default/shop/', 'dead', NULL, 7, 946684800, 1),
    ('default/shop/', 'tree', 'json', 8, NULL,
     '{"!!":0.5,"b":{"!tuple":[1,{"!set":[2]},{"!float":"nan"},{"!decimal":"1.50"}]},'
     || '"d":{"!dict":[[1,{"!bytes":"AP8="}]]}}'),
    ('default/shop/', 'moments', 'json', 9, NULL,
     '[{"!date":"2026-05-01"},{"!datetime":"2026-05-01T12:00:00+00:00"},'
     || '{"!uuid":"00000000-0000-0000-0000-000000000007"},'
     || '{"!int":"0x4b3b4ca85a86c47a098a224000000000"}]'),
    ('default/other/', 'pi', NULL, 10, NULL, 3);
"""
HELD = {
    "": 7,
    7: b"\x00\xff",
    ("eu", 7): True,
    "alive": None,
    "pi": 3.1415,
    "text": "één",
    "tree": {"!": 0.5, "b": (1, {2}, float("nan"), Decimal("1.50")), "d": {1: b"\x00\xff"}},
    "moments": [
        date(2026, 5, 1),
        datetime(2026, 5, 1, 12, tzinfo=UTC),
        UUID(int=7),
        10**38,
    ],
}


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """Yield an engine on a file of format 1."""
    monkeypatch.delenv("LPCM_NAMESPACE", raising=False)
    path = tmp_path / "old.sqlite3"
    with closing(sqlite3.connect(path)) as file:
        file.executescript(FORMAT_1)
    engine = Engine.open(f"sqlite:///{path}")
    yield engine
    engine.close()


@pytest.mark.parametrize("key", HELD, ids=repr)
def test_format_1_is_read(engine, key):
    """Every kind of key and value of format 1 is what it was."""
    assert same(LPCM("shop", live=False, using=engine)[key], HELD[key])


def test_format_1_is_walked_and_written(engine):
    """A map of format 1 has its entries, catalogue and order, and takes new ones."""
    shop = LPCM("shop", using=engine)
    assert set(shop) == set(HELD)
    assert len(shop) == len(HELD)
    assert (maps(using=engine), shop.entry("pi").etag) == (["shop"], 1)
    assert "dead" not in shop
    assert shop.increment("") == 8
    shop["new"] = (1,)
    assert shop["new"] == (1,)


def test_format_1_is_still_what_is_written(engine, tmp_path):
    """A new file has the tables of format 1, to the letter, or this file needs a newer one."""
    new = Engine.open(f"sqlite:///{tmp_path}/new.sqlite3")
    LPCM("shop", using=new)["pi"] = 3.1415
    new.close()
    engine.close()
    schemas = []
    for name in ("old", "new"):
        with closing(sqlite3.connect(tmp_path / f"{name}.sqlite3")) as file:
            schemas.append(file.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchall())
    assert schemas[0] == schemas[1]
