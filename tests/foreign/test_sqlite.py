"""SQLite files with what lpcm did not write: rows of any types, schemas of others."""

import sqlite3

import pytest
from hypothesis import HealthCheck, given, settings

import lpcm
from lpcm import LPCM, BatchError, Engine, RawKey
from lpcm.errors import LPCMError, StoreCorrupt, StoreForeign, ValueDecodingError
from tests.foreign import strategies
from tests.foreign.properties import behaves

BESIDE = {"a": 1, "z": [2]}


class File:
    """A file with a map in it, and a way past lpcm."""

    def __init__(self, path):
        self.path = path
        self.url = f"sqlite:///{path}"
        self.map = LPCM("orders", url=self.url)
        self.map.update(BESIDE)
        self.partition = self.map._use()._map
        self.raw = sqlite3.connect(path)

    def plant(self, sk="k", v="paid", t=None, etag=5, x=None, *, commit=True):
        """Write a row of any types; ("text", bytes) is text that is no UTF-8."""
        cells = {"sk": sk, "t": t, "etag": etag, "x": x, "v": v}
        texts = {name: cell[1] for name, cell in cells.items() if isinstance(cell, tuple)}
        marks = [f"CAST(:{name} AS TEXT)" if name in texts else f":{name}" for name in cells]
        self.raw.execute(
            f"INSERT OR REPLACE INTO entries(pk, {', '.join(cells)})"
            f" VALUES (:pk, {', '.join(marks)})",
            {**cells, **texts, "pk": self.partition},
        )
        if commit:
            self.raw.commit()


@pytest.fixture
def file(tmp_path):
    made = File(tmp_path / "m.sqlite3")
    yield made
    made.raw.close()


@pytest.mark.parametrize(
    ("planted", "said"),
    [
        ({"x": "tomorrow"}, "its expiry is 'tomorrow'"),
        ({"x": b"\0"}, "its expiry is"),
        ({"v": None}, "NULL"),
        ({"v": "{", "t": "json"}, "not a stored value"),
        ({"v": "[" * 900 + "]" * 900, "t": "json"}, "nests too deep"),
        ({"v": '{"!timedelta":1.5}', "t": "json"}, "!timedelta"),
        ({"v": 5, "t": "json"}, "not a stored value"),
        ({"v": 1, "t": "int"}, "unknown kind"),
        ({"v": 1, "t": b"int"}, "unknown kind"),
        ({"v": ("text", b"\xff")}, "not UTF-8"),
        ({"t": ("text", b"\xff")}, "not UTF-8"),
    ],
    ids=repr,
)
def test_a_row_of_others_is_one_error_with_map_and_key(file, planted, said):
    """What cannot be read is a ValueDecodingError; walks, deleting and replacing go on."""
    file.plant(**planted)
    with pytest.raises(ValueDecodingError, match="'k' in map 'orders'.*" + said):
        file.map["k"]
    behaves(file.map, "k", BESIDE)


def test_an_order_of_others_is_never_taken_for_absent(file):
    """A text in ``x`` keeps the entry: ``setdefault`` and ``get`` see that it is there."""
    file.plant(x="never")
    with pytest.raises(ValueDecodingError):
        file.map.setdefault("k", "new")
    with pytest.raises(ValueDecodingError):
        file.map.get("k", "none")
    assert file.raw.execute("SELECT v FROM entries WHERE sk = 'k'").fetchone() == ("paid",)


def test_pop_loses_nothing_that_cannot_be_read(file):
    """A pop of such an entry raises, and the entry stays, expiry and all."""
    for sk, row in {
        "bad": {"v": "{", "t": "json", "x": 4e9},
        "class": {"v": '{"!@Unknown/1":1}', "t": "json"},
        "text": {"v": ("text", b"\xff")},
        "x": {"x": "never"},
    }.items():
        file.plant(sk, **row)
        before = file.raw.execute("SELECT CAST(v AS BLOB), t, x FROM entries WHERE sk = ?", (sk,))
        before = before.fetchone()
        with pytest.raises(ValueDecodingError):
            file.map.pop(sk)
        after = file.raw.execute("SELECT CAST(v AS BLOB), t, x FROM entries WHERE sk = ?", (sk,))
        assert after.fetchone() == before


def test_an_etag_of_others_can_be_replaced(file):
    """The value is read; only who asks for the etag gets the error; a change replaces it."""
    file.plant(v=5, etag="abc")
    assert file.map["k"] == 5
    with pytest.raises(ValueDecodingError, match="its etag is 'abc'"):
        file.map.entry("k")
    assert file.map.transform("k", lambda value: value + 1) == 6
    assert file.map.entry("k").value == 6


def test_a_key_of_others_is_a_raw_key(file):
    """A walk gives it, every operation takes it; a key that is no text is nobody's."""
    file.plant("!x", 1)
    file.plant("!1a07", 2)
    file.plant("a\0", 3)
    file.plant("l" * 1100, 4)
    file.plant(("text", b"b\xff"), 5)
    raw = [RawKey("!1a07"), RawKey("!x"), RawKey("a\0"), RawKey("l" * 1100)]
    assert sorted(map(repr, file.map)) == sorted(map(repr, ["a", "z", *raw]))
    assert dict(file.map.items()) == {**BESIDE, **dict(zip(raw, [2, 1, 3, 4], strict=True))}
    for key in raw:
        behaves_like_any(file.map, key)
    assert list(file.map) == ["a", "z"]
    file.map.clear()
    left = file.raw.execute("SELECT sk FROM entries").fetchall()
    assert left == [("identity",)]  # the namespace's own


def behaves_like_any(m, key):
    assert m[key] == m.get(key) == m.entry(key).value
    m[key] = "new"
    assert m.pop(key) == "new"


def test_a_walk_gives_up_after_a_thousand(file):
    """So a map that cannot be read at all is not read to its end."""
    for number in range(3000):
        file.plant(f"k{number:04}", "{", "json", commit=number == 2999)
    with pytest.raises(BatchError) as caught:
        list(file.map.values())
    assert 1000 <= len(caught.value.errors) < 3000
    assert len(list(file.map)) == 3002


def test_a_row_that_is_kept_and_then_spoilt(file):
    """A row that the near cache has, and that another program makes unreadable, is an error."""
    file.map["k"] = 1
    assert file.map["k"] == file.map["k"] == 1
    for spoilt in ({"v": None, "t": None}, {"v": "{", "t": "json"}, {"v": "x", "t": "later"}):
        file.plant(**spoilt, x=None, etag=0)
        for read in (lambda: file.map["k"], lambda: file.map.get("k")):
            with pytest.raises(ValueDecodingError):
                read()


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(row=strategies.rows)
def test_any_row(file, row):
    """Whatever stands in a row: the documented outcomes only."""
    file.plant(**row)
    behaves(file.map, "k", BESIDE)


# Files


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE entries; CREATE VIEW entries AS SELECT 1 pk, 2 sk, 3 t, 4 etag, 5 x, 6 v",
        "DROP TABLE entries; CREATE TABLE entries(pk, sk, t, etag, x, v AS (lower(sk)))",
        "DROP TABLE entries",
        "DROP TABLE maps",
        "DROP INDEX expiry",
        "ALTER TABLE entries ADD COLUMN more",
        "CREATE TRIGGER steal AFTER INSERT ON entries BEGIN DELETE FROM maps; END",
        "CREATE UNIQUE INDEX one ON entries(etag)",
        "DROP TABLE entries; CREATE VIRTUAL TABLE entries USING fts5(pk, sk, t, etag, x, v)",
    ],
)
def test_a_schema_of_others_is_foreign(file, sql):
    """Tables that are not the ones lpcm makes are StoreForeign when the file is opened."""
    lpcm.close()
    file.raw.executescript(sql)
    with pytest.raises(StoreForeign, match="not as lpcm makes it"):
        LPCM("orders", url=file.url).get("a")


def test_a_damaged_schema_is_corrupt(file):
    """A schema that SQLite cannot parse is StoreCorrupt or StoreForeign."""
    lpcm.close()
    file.raw.execute("PRAGMA writable_schema = ON")
    file.raw.execute("UPDATE sqlite_master SET sql = 'CREATE TABLE (' WHERE name = 'maps'")
    file.raw.commit()
    file.raw.execute("PRAGMA writable_schema = RESET") if sqlite3.sqlite_version_info < (
        3,
        0,
    ) else None
    with pytest.raises((StoreCorrupt, StoreForeign)):
        LPCM("orders", url=file.url).get("a")


def test_what_stands_beside_is_left_alone(file):
    """Another table, a view of ours and a plain index are no reason to refuse the file."""
    lpcm.close()
    file.raw.executescript(
        "CREATE TABLE mine(a); CREATE VIEW peek AS SELECT sk FROM entries;"
        "CREATE INDEX more ON entries(etag); ANALYZE"
    )
    assert LPCM("orders", url=file.url).copy() == BESIDE


def test_no_schema_is_trusted(file):
    """Every connection is told that functions in a schema are not to be called."""
    with file.map._use()._store._file.connection() as connection, connection.lock:
        assert connection.execute("PRAGMA trusted_schema").fetchone() == (0,)


@pytest.mark.parametrize(
    ("column", "cell"),
    [("name", b"\0"), ("format", "?"), ("format", 1.5), ("codec", b"\0"), ("shards", "two")],
)
def test_a_row_of_the_catalogue_of_others(file, column, cell):
    """It hides no other map; who would write that map gets an error that names the map."""
    LPCM("other", url=file.url)["a"] = 1
    file.raw.execute(f"UPDATE maps SET {column} = ? WHERE name = 'other'", (cell,))
    file.raw.commit()
    assert lpcm.maps(using=Engine.open(file.url)) == ["orders"]
    lpcm.close()
    with pytest.raises(LPCMError, match="not written by lpcm"):
        LPCM("other", url=file.url)["a"] = 2
