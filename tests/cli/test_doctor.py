"""``lpcm doctor``, on each real engine, in health and with faults provoked."""

import http.client
import json
import socket
import sqlite3
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from click.testing import CliRunner

import lpcm
from checks import servers
from lpcm import LPCM, ConfigError, doctor, events
from lpcm.cli import main
from lpcm.stores.sqlite import inspection
from lpcm.stores.sqlite.store import SQLiteStore
from tests.dynamodb.tables import Table

FIELDS = {"state", "about", "found", "fix"}


def examined(url, *words, code=0):
    """Run the command, and return its findings by what they are about."""
    result = CliRunner().invoke(main, ["--url", url, "--json", "doctor", *words])
    assert result.exit_code == code, (result.output, result.exception)
    findings = [json.loads(line) for line in result.stdout.splitlines()]
    assert all(set(finding) == FIELDS for finding in findings)
    assert all(finding["fix"] for finding in findings if finding["state"] == "note")
    assert any(finding["state"] == "wrong" for finding in findings) is bool(code)
    return {finding["about"]: finding for finding in findings}


@pytest.fixture
def table(dynoxide):
    """Return a table's URL, and requests to it."""
    table = Table(dynoxide.endpoint, "doctor")
    yield table
    table.close()


@pytest.fixture
def file(tmp_path):
    """Return the URL of a file that has an entry."""
    url = f"sqlite:///{tmp_path}/m.sqlite3"
    LPCM("m", url=url)["k"] = 1
    yield url
    lpcm.close()


def behind(table, server):
    """Return the URL of a table behind that memcached."""
    return f"{table.url}&cache=memcached://{server.host}:{server.port}"


# In health


def test_a_file(file):
    """Of a SQLite file it says what it is, whether it has a near cache, and how quick it is."""
    found = examined(file)
    assert set(found) == {
        "maps", "disk", "file", "log", "safety", "near cache", "sharing", "times"
    }  # fmt: skip
    assert "entries: 1, expired: 0" in found["file"]["found"]
    assert found["near cache"]["found"] == "on"
    assert "ms" in found["times"]["found"]


def test_it_leaves_nothing(file, tmp_path):
    """What was there is as it was, and of the probe nothing is left."""
    with sqlite3.connect(tmp_path / "m.sqlite3") as base:
        before = list(base.iterdump())
        examined(file)
        after = list(base.iterdump())
    base.close()
    assert after == before


def test_look_only_writes_nothing(file, monkeypatch):
    """With --look-only nothing is written, and so nothing is said of sharing."""
    written = []
    for name in ("apply", "drop", "register"):
        monkeypatch.setattr(SQLiteStore, name, written.append)
    found = examined(file, "--look-only")
    assert "sharing" not in found
    assert written == []


@pytest.mark.parametrize("url", ["memory://", "memory://doctor"])
def test_memory(url):
    """Memory without a name is no one else's; with a name two engines share it."""
    found = examined(url)
    assert found["sharing"]["state"] == ("note" if url == "memory://" else "ok")


def test_a_table_behind_memcached(table, memcached):
    """Of DynamoDB it says whose keys, how far and how the table is; of memcached how it is set."""
    found = examined(behind(table, memcached))
    noted = {name for name, each in found.items() if each["state"] != "ok"}
    assert noted <= {"times", "memory", "protection"}
    assert found["credentials"]["found"] == "of the environment (AWS_ACCESS_KEY_ID)"
    assert "EXAMPLE" not in json.dumps(found)
    assert "ACTIVE" in found["table"]["found"]
    assert "CAS is on" in found["memcached"]["found"]
    assert "of the cache" in found["times"]["found"]
    assert "20 writes" in found["sharing"]["found"]
    assert table.items() == []


def test_reads_that_may_be_old(table, memcached):
    """A near cache with a bound is said, and what it may serve late is no fault."""
    found = examined(f"{behind(table, memcached)}&near_cache=1000000&max_stale=30")
    assert "30 s old" in found["near cache"]["found"]
    assert found["sharing"]["state"] == "ok"


def test_signatures_are_checked(extenddb, monkeypatch):
    """On an engine that checks signatures a wrong secret is found, and never shown."""
    table = Table(extenddb.endpoint, "doctor")
    table.close()
    url = table.url
    assert examined(url)["sharing"]["state"] == "ok"
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-and-secret")
    found = examined(url, code=1)
    assert found["reads"]["state"] == "wrong"
    assert "wrong-and-secret" not in json.dumps(found)


def test_maps_that_are_only_cached(memcached):
    """Of memcached alone it says the same as of memcached in front."""
    found = examined(f"memcached://{memcached.host}:{memcached.port}")
    assert {"memcached", "memory", "item size", "sharing", "times"} <= set(found)


# With faults


def test_a_file_that_is_not_there(tmp_path):
    """It is no file's begin: a missing one is said to be missing, and not made."""
    found = examined(f"sqlite:///{tmp_path}/none.sqlite3", code=1)
    assert "is not there" in found["file"]["found"]
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_others(tmp_path):
    """A database that is not lpcm's is wrong, and stays as it is."""
    path = tmp_path / "theirs.sqlite3"
    with sqlite3.connect(path) as base:
        base.execute("CREATE TABLE t (x)")
    base.close()
    found = examined(f"sqlite:///{path}", code=1)
    assert "lpcm" in found["store"]["found"]


def test_a_network_file_system(file, monkeypatch):
    """SQLite on a network file system is wrong: its locks do not hold there."""
    monkeypatch.setattr(inspection, "file_system", lambda _: "nfs4")
    assert "nfs4" in examined(file, code=1)["disk"]["found"]


def test_what_expired_and_no_near_cache(file, tmp_path):
    """Expired rows that outnumber the others, and a near cache that is off, are notes."""
    LPCM("m", url=file).set_many([(number, 1) for number in range(2000)], ttl=3600)
    with sqlite3.connect(tmp_path / "m.sqlite3") as base:
        base.execute("UPDATE entries SET x = 1.0 WHERE x > 1.0")
    base.close()
    found = examined(f"{file}?near_cache=0")
    assert "lpcm purge" in found["file"]["fix"]
    assert found["near cache"]["state"] == "note"


def test_eventual_reads(table):
    """They are named; what two engines exchange is read strongly, and found there."""
    requests = []
    with events.subscribe(requests.append, events.Request):
        found = examined(f"{table.url}&consistency=eventual")
    assert {each.read_units for each in requests if each.operation == "GetItem"} == {1.0}
    assert "may be behind" in found["consistency"]["found"]
    assert found["consistency"]["state"] == "ok"
    assert "20 writes" in found["sharing"]["found"]
    assert "consistency" not in examined(table.url)


def test_no_table(dynoxide):
    """A table that is not there is named, with the command that makes it."""
    url = f"dynamodb://nowhere?region=eu-west-1&endpoint={dynoxide.endpoint}"
    found = examined(url, code=1)
    assert "lpcm table create" in found["table"]["fix"]
    assert "sharing" not in found


def test_a_table_of_another_shape(table):
    """A table with other keys is wrong, and is not written to."""
    table.call(
        "CreateTable",
        TableName="shaped",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        BillingMode="PAY_PER_REQUEST",
    )
    found = examined(table.url.replace("://doctor", "://shaped"), code=1)
    assert "id HASH S" in found["table"]["found"]
    assert "times" not in found


@pytest.mark.parametrize("attribute", [None, "until"])
def test_a_ttl_that_does_not_work(table, attribute):
    """A table whose TTL is off, or is another attribute's, works and is wrong."""
    name = f"ttl_{attribute}"
    table.call(
        "CreateTable",
        TableName=name,
        AttributeDefinitions=[
            {"AttributeName": "pk", "AttributeType": "S"},
            {"AttributeName": "sk", "AttributeType": "S"},
        ],
        KeySchema=[
            {"AttributeName": "pk", "KeyType": "HASH"},
            {"AttributeName": "sk", "KeyType": "RANGE"},
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    if attribute:
        setting = {"Enabled": True, "AttributeName": attribute}
        table.call("UpdateTimeToLive", TableName=name, TimeToLiveSpecification=setting)
    found = examined(table.url.replace("://doctor", f"://{name}"), code=1)
    assert found["ttl"]["state"] == "wrong"
    assert "lpcm table create" in found["ttl"]["fix"]
    assert found["sharing"]["state"] == "ok"


def test_nothing_listens():
    """An endpoint and a cache that cannot be reached are wrong, and what they would be is said."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        url = f"dynamodb://doctor?region=eu-west-1&endpoint=http://127.0.0.1:{port}"
        found = examined(f"{url}&cache=memcached://127.0.0.1:{port}", code=1)
    assert "endpoint=" in found["endpoint"]["fix"]
    assert "start it" in found["memcached"]["fix"]
    assert "table" not in found


def test_no_credentials(dynoxide, monkeypatch, tmp_path):
    """Without AWS's keys that is said before anything is asked."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    url = f"dynamodb://doctor?region=eu-west-1&endpoint={dynoxide.endpoint}"
    found = examined(url, code=1)
    assert "no AWS keys" in found["credentials"]["found"]
    assert "endpoint" not in found


@contextmanager
def another_clock(endpoint, ahead):
    """Yield the URL of a server that passes requests on, and replies by another clock."""
    host = endpoint.removeprefix("http://")

    class Forward(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def date_time_string(self, timestamp=None):
            return format_datetime(datetime.now(UTC) + timedelta(seconds=ahead), usegmt=True)

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            through = http.client.HTTPConnection(host, timeout=20)
            through.request(self.command, self.path, body, dict(self.headers))
            reply = through.getresponse()
            body = reply.read()
            through.close()
            self.send_response(reply.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST  # noqa: N815  # the names that http.server calls

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Forward)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(("ahead", "words"), [(600, "behind"), (-600, "ahead of")])
def test_clocks_that_differ(table, ahead, words):
    """A clock that differs from the endpoint's is wrong, whichever of them is ahead."""
    with another_clock(table.endpoint, ahead) as endpoint:
        found = examined(table.url.replace(table.endpoint, endpoint), "--look-only", code=1)
    assert words in found["clock"]["found"]
    assert "NTP" in found["clock"]["fix"]


def test_memcached_without_cas(table):
    """A memcached without CAS is not used, and wrong; the store works without it."""
    with servers.memcached(options=("-C",)) as server:
        found = examined(behind(table, server), code=1)
    assert "CAS is off" in found["memcached"]["found"]
    assert found["sharing"]["state"] == "ok"
    assert "of the cache" not in found["times"]["found"]


def test_memcached_that_evicts(table):
    """A memcached that has evicted more than a hundredth of its items is too small."""
    with servers.memcached(2) as server:
        with socket.create_connection((server.host, server.port)) as raw:
            data = b"x" * 10_000
            for number in range(1000):
                raw.sendall(b"set k%d 0 0 %d noreply\r\n%s\r\n" % (number, len(data), data))
            raw.sendall(b"version\r\n")
            assert raw.recv(100).startswith(b"VERSION")
        found = examined(behind(table, server), code=1)
    assert "-m" in found["memory"]["fix"]


def test_memcached_with_little_room(table):
    """A memcached that never evicts, or takes no large items, gets a note."""
    with servers.memcached(options=("-M", "-I", "512k")) as server:
        found = examined(behind(table, server))
    assert (found["memory"]["state"], found["item size"]["state"]) == ("note", "note")


def test_engines_that_do_not_agree(monkeypatch):
    """A store that shows one engine what another one wrote only later is found."""
    reads = lpcm.engine.drive.run  # the real one, for all else
    monkeypatch.setattr(doctor, "ROUNDS", 2)
    late = []

    def stale(operation):
        done = reads(operation)
        if getattr(operation, "__qualname__", "").endswith("item"):
            late.append(done)
            return late[-3] if len(late) > 2 else done
        return done

    monkeypatch.setattr(doctor, "run", stale)
    found = examined("memory://late", code=1)
    assert "lpcm verify" in found["sharing"]["fix"]


# As it is shown


def test_for_people(file):
    """In words each finding is a line, and its fix another one; the last line sums up."""
    shown = CliRunner().invoke(main, ["--url", f"{file}?near_cache=0", "doctor"])
    assert shown.exit_code == 0
    lines = shown.stdout.splitlines()
    at = lines.index("note   near cache    off (near_cache=0)")
    assert lines[at + 1].strip() == "-> leave near_cache out of the URL"
    assert lines[-1] == "Nothing is wrong."
    wrong = CliRunner().invoke(main, ["--url", f"{file}-none", "doctor"])
    assert wrong.stdout.splitlines()[-1] == "1 wrong"


def test_a_wrong_url_is_no_finding():
    """A URL that is none ends as everywhere, with exit code 3."""
    assert CliRunner().invoke(main, ["--url", "nosuch://x", "doctor"]).exit_code == 3


def test_compression(file, monkeypatch):
    """It says what values are compressed with, and whether this process can."""
    found = examined(f"{file}?compress=zlib&compress_over=2000")["compression"]
    assert found["found"] == "zlib, of values over 2,000 bytes"

    def missing(method):
        raise ConfigError(f"compress={method}: pip install 'lpcm[zstd]'")

    monkeypatch.setattr(doctor, "usable", missing)
    monkeypatch.setattr(doctor, "_probe", lambda *_, **__: None)
    assert "lpcm[zstd]" in examined(f"{file}?compress=zstd", code=1)["compression"]["found"]
