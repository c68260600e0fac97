"""``lpcm identity renew``: what is cached of a namespace counts no more."""

import json

from click.testing import CliRunner

from lpcm import LPCM, Engine
from lpcm.cli import main
from lpcm.engine.drive import run
from lpcm.ports import Cell, Put
from lpcm.values.keys import partition


def invoke(*words):
    """Run a command line and return its result."""
    return CliRunner().invoke(main, [*map(str, words)])


def test_renew(tmp_path, memcached):
    """After it, who starts reads the store, not what was cached before a restore in place."""
    url = f"sqlite:///{tmp_path}/m.sqlite3"
    cached = f"{url}?cache=memcached://{memcached.host}:{memcached.port}"
    engine = Engine.open(cached)
    LPCM("m", using=engine)["k"] = "before"
    restored = Put(Cell("restored", None), 1)
    run(engine.store.apply(partition(engine.namespace, "m"), "k", restored, 0.0))
    engine.close()
    assert LPCM("m", url=cached)["k"] == "before"
    done = invoke("--url", cached, "identity", "renew")
    assert done.exit_code == 0, done.output
    assert "new identity" in done.output
    assert LPCM("m", url=cached)["k"] == "restored"
    done = invoke("--json", "--url", url, "identity", "renew")
    assert json.loads(done.output)["renewed"] is True


def test_a_store_without_one(memcached):
    """Cached only, there is none: exit code 4."""
    done = invoke("--url", f"memcached://{memcached.host}:{memcached.port}", "identity", "renew")
    assert done.exit_code == 4
    assert "no cache in front" in done.stderr
