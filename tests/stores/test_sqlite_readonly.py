"""What may only be read can be read, and reading it leaves nothing that blocks its owner."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from lpcm import LPCM, Engine, StoreReadOnly

NOBODY = 65534

READER = f"""
import os, sys, time
import lpcm
from lpcm import LPCM, Engine
from lpcm.stores.sqlite import readonly as _sqlite_readonly
from lpcm.stores.sqlite import store as sqlite
if os.getuid() == 0:
    # Python itself may be where only root may read: import what is imported late.
    import tempfile, urllib.parse
    with tempfile.TemporaryDirectory() as warm:
        lpcm.configure(f"sqlite:///{{warm}}/m.sqlite3")
        m = LPCM("m")
        m["k"] = 1
        m.setdefault("l", []).append(m.increment("k"))
        m.transform("k", lambda old: old + 1)
        lpcm.transact(lambda t: t[m].__setitem__("k", t[m]["k"]))
        m.set_many({{"k": 1}}); m.clear()
        try:
            m["k" * 2000] = 1
        except lpcm.LPCMError:
            pass
        lpcm.close()
    os.setgroups([])
    os.setgid({NOBODY})
    os.setuid({NOBODY})
engine = Engine.open(f"sqlite:///{{sys.argv[1]}}")
m = LPCM("m", using=engine)
"""
READ = """
print(sorted(m.items()), m.get("k"), len(m), m.get_many(["k", "nope"]), lpcm.maps(using=engine))
"""
FOUND = "[('k', 1), ('l', 2)] 1 2 {'k': 1} ['m']\n"


@pytest.fixture
def folder():
    """Yield a directory that others may enter."""
    # Not tmp_path, which only its owner may enter.
    folder = Path(tempfile.mkdtemp(prefix="lpcm-readonly-"))
    folder.chmod(0o755)
    yield folder
    for each in [folder, *folder.iterdir()]:
        each.chmod(0o755)
    shutil.rmtree(folder)


@pytest.fixture
def path(folder):
    """Return a database with two entries, that nobody has open."""
    path = folder / "data" / "m.sqlite3"
    path.parent.mkdir()
    own(path, k=1, l=2)
    path.chmod(0o644)
    return path


def own(path, **entries):
    """Write as the owner, and close."""
    engine = Engine.open(f"sqlite:///{path}")
    m = LPCM("m", using=engine)
    m.update(entries)
    found = m.copy()
    engine.close()
    return found


def command(program, path):
    """Return what runs a program as another user, who has a map ``m`` in the file."""
    return [sys.executable, "-c", READER + program, str(path)]


def as_nobody(program, path):
    """Run it to its end and return what it prints."""
    done = subprocess.run(
        command(program, path), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def seal_the_file(path):
    path.chmod(0o444)
    path.parent.chmod(0o777)  # where a log could be made


def seal_the_directory(path):
    path.chmod(0o666)
    path.parent.chmod(0o755)


def seal_both(path):
    path.chmod(0o444)
    path.parent.chmod(0o555)


SEALS = [seal_the_file, seal_the_directory, seal_both]


@pytest.mark.parametrize("seal", SEALS)
def test_it_is_read_and_left_as_it_is(path, seal):
    """Every kind of read works, and no file is made or changed."""
    seal(path)
    before = path.read_bytes(), path.stat().st_mtime_ns
    assert as_nobody(READ, path) == FOUND
    assert [each.name for each in path.parent.iterdir()] == ["m.sqlite3"]
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    path.chmod(0o644)
    assert own(path, more=3) == {"k": 1, "l": 2, "more": 3}


@pytest.mark.parametrize("seal", SEALS)
def test_writes_are_refused(path, seal):
    """Every kind of write is StoreReadOnly, and the map can still be read."""
    seal(path)
    refused = """
def transact():
    with lpcm.transaction() as t:
        t[m]["new"] = 1
for write in (
    lambda: m.__setitem__("k", 9), lambda: m.set("k", 9, ttl=60), lambda: m.__delitem__("k"),
    lambda: m.increment("k"), lambda: m.setdefault("new", 1), lambda: m.set_many({"k": 9, "n": 1}),
    lambda: m.clear(), transact, lambda: m.transform("k", lambda old: old + 1),
    lambda: LPCM("another", using=engine).update(a=1),
):
    try:
        write()
    except lpcm.StoreReadOnly as error:
        assert sys.argv[1] in str(error)
    except lpcm.BatchError as error:
        assert {type(each) for each in error.errors.values()} == {lpcm.StoreReadOnly}
    else:
        raise SystemExit("written")
"""
    assert as_nobody(refused + READ, path) == FOUND


WATCH = """
print(m.get("k"), flush=True)
for line in sys.stdin:
    print(m.get("k"), len(m), flush=True)
"""


@pytest.mark.parametrize("seal", SEALS)
def test_a_reader_sees_what_the_owner_writes(path, seal):
    """A reader is never behind: an owner that comes, writes, and goes is followed."""
    seal(path)
    reader = subprocess.Popen(
        command(WATCH, path), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with reader:
        try:
            assert reader.stdout.readline() == "1\n"
            if os.getuid():
                path.chmod(0o644)
                path.parent.chmod(0o755)

            def seen():
                reader.stdin.write("\n")
                reader.stdin.flush()
                return reader.stdout.readline()

            engine = Engine.open(f"sqlite:///{path}")
            m = LPCM("m", using=engine)
            for each in path.parent.iterdir():
                each.chmod(0o644)
            for number in range(20):
                m["k"] = number
                m[number] = "x" * 2000
                assert seen() == f"{number} {number + 3}\n"
            engine.close()
            assert seen() == "19 22\n"
            assert own(path, k="later")["k"] == "later"
            assert seen() == "later 22\n"
        finally:
            reader.stdin.close()
            assert reader.wait(timeout=60) == 0
    assert own(path, k="last")["k"] == "last"


HAMMER = """
end = time.monotonic() + 1.5
count = 0
while time.monotonic() < end:
    one, other = m.get_many(["one", "other"]).values()
    assert one == other, (one, other)
    count += 1
print(count > 20)
"""


def test_a_reader_beside_writers_that_come_and_go(path):
    """While owners open, write, checkpoint and close, no read is torn."""
    own(path, one="", other="")
    seal_the_file(path)
    pipe = subprocess.PIPE
    reader = subprocess.Popen(command(HAMMER, path), stdout=pipe, stderr=pipe, text=True)
    with reader:
        number = 0
        while reader.poll() is None and number < 100_000:
            engine = Engine.open(f"sqlite:///{path}?synchronous=normal")
            for _ in range(5):
                number += 1
                text = f"{number} " * 2000
                LPCM("m", using=engine).set_many({"one": text, "other": text})
            engine.close()
            time.sleep(0.06)
        assert (reader.stderr.read(), reader.stdout.read()) == ("", "True\n")


def test_the_log_of_a_killed_owner_is_read(path):
    """Where the owner was killed, what its log has is read, and left for the next owner."""
    killed = """
import os, signal, sys, lpcm
m = lpcm.LPCM("m", url=f"sqlite:///{sys.argv[1]}")
m["k"] = "from the log"
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", killed, path], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    for each in path.parent.iterdir():
        each.chmod(0o644)
    seal_both(path)
    before = {each.name: each.read_bytes() for each in path.parent.iterdir()}
    assert as_nobody('print(m["k"])', path) == "from the log\n"
    assert {each.name: each.read_bytes() for each in path.parent.iterdir()} == before
    path.parent.chmod(0o755)
    path.chmod(0o644)
    Path(f"{path}-shm").unlink()
    seal_both(path)
    done = subprocess.run(
        command(READ, path), capture_output=True, text=True, timeout=60, check=False
    )
    assert "StoreReadOnly" in done.stderr
    assert "-shm" in done.stderr.splitlines()[-1]
    path.parent.chmod(0o755)
    path.chmod(0o644)
    assert own(path)["k"] == "from the log"


LEFT = """
raw = sqlite3.connect(sys.argv[1])
print(raw.execute("SELECT count(*) FROM entries").fetchone()[0])
raw.close()
"""


@pytest.mark.parametrize("reader", ['print(m["k"], len(m))', LEFT])
def test_a_reader_does_not_block_the_owner_for_good(path, reader):
    """An owner that takes write permission away, reads, and gives it back can write again.

    So, too, where the reader was SQLite itself, which leaves a log and an index that nobody may
    write.
    """
    for each in (path.parent, path):
        if os.getuid() == 0:
            os.chown(each, NOBODY, NOBODY)
    path.chmod(0o444)
    if reader is LEFT:
        if os.getuid() == 0:
            reader = f"os.setuid({NOBODY})\n{reader}"
        subprocess.run(
            [sys.executable, "-c", f"import os, sqlite3, sys\n{reader}", path], check=True
        )
        left = [Path(f"{path}{end}") for end in ("-wal", "-shm")]
        assert [each.stat().st_mode & 0o777 for each in left] == [0o444] * 2
    else:
        assert as_nobody(reader, path) == "1 2\n"
    path.chmod(0o644)
    assert as_nobody('m["k"] = 5\nprint(m["k"])', path) == "5\n"


def test_an_empty_file_is_refused(path):
    """What is no database yet, and cannot become one, is StoreReadOnly."""
    path.write_bytes(b"")
    seal_both(path)
    done = subprocess.run(
        command(READ, path), capture_output=True, text=True, timeout=60, check=False
    )
    assert "StoreReadOnly" in done.stderr
    assert path.read_bytes() == b""


def test_a_read_only_mount(path, folder):
    """A database on a medium that is mounted for reading is read."""
    mount = folder / "mount"
    mount.mkdir()
    bound = ["mount", "--bind", str(path.parent), str(mount)]
    if os.getuid() or not shutil.which("mount") or subprocess.run(bound, check=False).returncode:
        # Not everybody may mount: then permissions alone refuse, in the tests above.
        return
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(mount)], check=True)
        assert as_nobody(READ, mount / "m.sqlite3") == FOUND
        engine = Engine.open(f"sqlite:///{mount}/m.sqlite3")
        assert LPCM("m", using=engine).copy() == {"k": 1, "l": 2}
        with pytest.raises(StoreReadOnly):
            LPCM("m", using=engine)["k"] = 2
        engine.close()
    finally:
        subprocess.run(["umount", str(mount)], check=True)
