"""``m.open``: values of bytes as files, where the store takes them as wholes."""

import gzip
import io
import os
import shutil
import zipfile

import pytest

from lpcm import LPCM, Conflict, Engine, Insulated, LPCMError, LPCMSet, ValueTooLarge, transaction
from lpcm.testing import insulate

LONG = os.urandom(1000) * 3000


@pytest.fixture(params=["memory", "sqlite"])
def url(request, tmp_path):
    sqlite = f"sqlite:///{tmp_path}/m?synchronous=normal"
    return "memory://" if request.param == "memory" else sqlite


@pytest.fixture
def m(url):
    with Engine.open(url) as engine:
        yield LPCM("m", using=engine)


def test_three_megabytes(m):
    """They are written in pieces and read in pieces, as of one version."""
    m["k"] = b"old"
    with m.open("k", "wb") as file:
        shutil.copyfileobj(io.BytesIO(LONG), file)
        assert m["k"] == b"old"
    assert m["k"] == LONG
    with m.open("k") as file:
        assert file.read(10) == LONG[:10]
        m["k"] = b"new"
        assert file.seek(-10, os.SEEK_END) == len(LONG) - 10
        assert file.read() == LONG[-10:]
        assert file.seek(5) == 5
        assert file.read() == LONG[5:]
        assert file.read(1) == b""


def test_other_libraries(m):
    """They write and read it as any binary file."""
    with m.open("gz", "wb") as file, gzip.open(file, "wb") as packed:
        packed.write(LONG)
    with m.open("gz") as file, gzip.open(file) as packed:
        assert packed.read() == LONG
    with m.open("zip", "wb") as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("name", LONG)
    with m.open("zip") as file, zipfile.ZipFile(file) as archive:
        assert archive.read("name") == LONG
    with m.open("text", "wb") as file, io.TextIOWrapper(file, encoding="utf-8") as text:
        text.write("é")
    assert m["text"] == "é".encode()
    with m.open("gz") as file, pytest.raises(io.UnsupportedOperation):
        file.write(b"")
    with m.open("gz", "wb") as file, pytest.raises(io.UnsupportedOperation):
        file.read()


def test_forgotten(m):
    """A file that is not closed writes nothing."""
    file = m.open("k", "wb")
    file.write(b"half")
    with pytest.warns(ResourceWarning, match=r"'k' in map 'm' was not closed"):
        del file
    assert not m


def test_a_closed_map(url):
    """Its files raise what it raises, and write nothing."""
    with Engine.open(url) as engine:
        m = LPCM("m", using=engine)
        m["k"] = b"value"
        reader, writer, closing = m.open("k"), m.open("k", "wb"), m.open("k", "wb")
        closing.write(b"more")
        m.close()
        with pytest.raises(LPCMError, match="map 'm' is closed"):
            reader.read()
        with pytest.raises(LPCMError, match="map 'm' is closed"):
            writer.write(b"more")
        with pytest.raises(LPCMError, match="map 'm' is closed"):
            closing.close()
        writer.close()
        assert LPCM("m", using=engine)["k"] == b"value"


def test_what_is_refused(m, url):
    """Other modes, maps of other values, and values over the limit."""
    for mode in ("w", "r", "ab", "rb+", ""):
        with pytest.raises(ValueError, match="a value is opened"):
            m.open("k", mode)
    with pytest.raises(ValueError, match="ttl"):
        m.open("k", ttl=1)
    with pytest.raises(TypeError):
        LPCMSet("tags", url=url).open("k", "wb")
    with pytest.raises(TypeError), m.open("k", "wb") as file:
        file.write("text")
    assert not m
    limited = LPCM("m", url=f"{url}{'&' if '?' in url else '?'}max_value=1000")
    with pytest.raises(ValueTooLarge, match="limit of 1,000"), limited.open("k", "wb") as file:
        file.write(bytes(1001))
    assert not limited


def test_a_transaction(m):
    """What a file of it reads is a condition; what one writes is written at its end."""
    m["k"] = b"old"
    with transaction() as t:
        with t[m].open("k") as back, t[m].open("l", "wb") as file:
            file.write(back.read())
        late = t[m].open("late", "wb")
        assert "l" not in m
    assert m["l"] == b"old"
    with pytest.raises(Conflict), transaction() as t:
        with t[m].open("k") as back, t[m].open("l", "wb") as file:
            file.write(back.read() + b"!")
        m["k"] = b"new"
    assert m.copy() == {"k": b"new", "l": b"old"}
    with pytest.raises(LPCMError, match="has ended"):
        late.close()


def test_the_end_of_tests(m):
    """A file that a test has left open writes nothing after it."""
    with insulate():
        file = m.open("k", "wb")
        file.write(b"of a test")
    with pytest.raises(Insulated):
        run_out(file)
    assert not m


def run_out(file):
    """Close a file while other tests run."""
    with insulate():
        file.close()


def test_compressed(url):
    """A file is compressed as a value is, and read."""
    with Engine.open(url, compress="zlib") as engine:
        m = LPCM("m", using=engine)
        with m.open("k", "wb") as file:
            file.write(b"of little content. " * 1000)
        with m.open("k") as file:
            assert file.read() == b"of little content. " * 1000 == m["k"]
