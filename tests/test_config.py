"""What a URL and options mean, and what is refused before anything is opened."""

from datetime import timedelta
from urllib.parse import quote, unquote

import pytest

from lpcm import ConfigError
from lpcm.caches.memcached import servers as memcached
from lpcm.engine import config


def test_without_a_cache_there_is_none():
    """No cache is configured by default, nor by ``cache=none``."""
    assert config.parse("memory://").cache is None
    assert config.parse("memory://?cache=none").cache is None
    assert config.parse("memory://", {"cache": "none"}).cache is None


def test_a_cache_error_policy_is_available_by_default():
    """``on_cache_error`` is ``available`` unless ``strict`` is asked for."""
    assert config.parse("memory://").strict is False
    assert config.parse("memory://?on_cache_error=available").strict is False
    assert config.parse("memory://?on_cache_error=strict").strict is True


def test_a_cache_ttl_is_whole_seconds():
    """``cache_ttl`` is 3600 s by default, else what is asked for."""
    assert config.parse("memory://").cache_ttl == 3600
    assert config.parse("memory://?cache_ttl=60").cache_ttl == 60


@pytest.mark.parametrize(
    "url",
    [
        "memory://?cache=redis://localhost",
        "memory://?cache=localhost:11211",
        "memory://?on_cache_error=ignore",
        "memory://?cache_ttl=0",
        "memory://?cache_ttl=1.5",
        "memory://?cache_ttl=2592001",
        "memory://?cache=none&cache=none",
        "memory://?caches=none",
    ],
)
def test_what_cannot_be_a_cache_is_refused(url):
    """An unknown cache scheme, a bad policy or lifetime is one ConfigError, before any use."""
    with pytest.raises(ConfigError):
        config.parse(url)


def test_a_near_cache_has_a_size_and_a_bound():
    """In front of a store of a network ``near_cache`` and ``max_stale`` are given together."""
    near = config.parse("dynamodb://table?near_cache=5000&max_stale=2")
    assert (near.near_cache, near.max_stale) == (5000, 2.0)
    alike = {"near_cache": 5000, "max_stale": timedelta(seconds=2)}
    assert config.parse("dynamodb://table", alike) == near
    assert config.parse("dynamodb://table?near_cache=0").max_stale is None
    assert config.parse("memcached://host").near_cache == 0
    cached = config.parse("dynamodb://table?cache=memcached://host&near_cache=5000&max_stale=2")
    assert config.cached_only(cached).max_stale == 2.0
    assert config.scratch(cached, "/tmp").max_stale is None  # nothing is made there


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("dynamodb://table?near_cache=5000", "belong together"),
        ("dynamodb://table?max_stale=2", "belong together"),
        ("memcached://host?max_stale=2", "belong together"),
        ("dynamodb://table?near_cache=5000&max_stale=0", "positive"),
        ("dynamodb://table?near_cache=-1&max_stale=2", "0 for none"),
        ("memory://?near_cache=5000&max_stale=2", "not for memory"),
        ("sqlite:///m?max_stale=2", "never stale"),
        ("sqlite:///m?near_cache=5000&max_stale=2&cache=memcached://host", "never stale"),
    ],
)
def test_a_near_cache_that_is_no_use_is_refused(url, words):
    """One without the other, and both where nothing is to be bounded: one ConfigError."""
    with pytest.raises(ConfigError, match=words):
        config.parse(url)


def test_an_error_does_not_show_a_password():
    """The message about a cache URL leaves out the password in it."""
    with pytest.raises(ConfigError) as raised:
        config.parse("memory://?cache=nonesuch://user:secret@host")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("url", [5, None, b"memory://", ["memory://"]])
def test_what_is_no_text_is_no_url(url):
    """A URL that is no text is a ConfigError as any other."""
    with pytest.raises(ConfigError, match=r"not a store URL|unknown scheme"):
        config.parse(url)


def test_a_fragment_is_refused():
    """A # would cut a file's name or a password short, and is refused."""
    for url in ("sqlite:///a#b.sqlite3", "memcached://u:p#w@h"):
        with pytest.raises(ConfigError, match="write %23"):
            config.parse(url)
    assert config.parse("sqlite:////a%23b").path == "/a#b"


@pytest.mark.parametrize(
    ("hosts", "servers"),
    [
        ("[::1]:11211,h2", [("::1", 11211), ("h2", 11211)]),
        ("h1,[::1]", [("h1", 11211), ("::1", 11211)]),
        ("[::1],[::2]:11212,10.0.0.1:11213", [("::1", 11211), ("::2", 11212), ("10.0.0.1", 11213)]),
        ("me:secret@[fe80::1%25eth0]:1,h2", [("fe80::1%eth0", 1), ("h2", 11211)]),
        ("[::ffff:10.0.0.1]:11212", [("::ffff:10.0.0.1", 11212)]),
    ],
)
def test_numbers_of_ipv6_stand_among_hosts(hosts, servers):
    """Numbers of IPv6 in brackets stand anywhere in a list, and the list parses on every Python."""
    cache = config.parse(f"memory://?cache={quote(f'memcached://{hosts}')}").cache
    assert memcached.parse(cache.path)[0] == servers
    assert config.parse(f"memcached://{hosts}").path == unquote(hosts)


@pytest.mark.parametrize(
    "host",
    ["[::1", "::1", "[::1]x", "[nothing]", "[]", "[v1.x]", "a..b", "x" * 64, "a b", "a\0b",
     "[::1]]", "[:" + "9" * 70 + "]", "h:" + "9" * 5000, "h:٣", "h:1_1", "ä\ufe6b", "a\uff0fb"],
)  # fmt: skip
def test_what_is_no_host_is_refused(host):
    """What no resolver can be asked for is refused where it is configured."""
    with pytest.raises(ConfigError, match="no memcached server"):
        memcached.parse(config.parse(f"memcached://{quote(host, safe='[]:')}").path)
