"""No password of a URL is shown: by no message, repr, traceback, pickle or command."""

from __future__ import annotations

import copy
import pickle
import traceback
from urllib.parse import quote

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

import lpcm
from lpcm import LPCM, ConfigError, Engine
from lpcm.cli import main
from lpcm.engine import config
from lpcm.redact import Secret, Url, redact

MARK = "s3cr3t"
"""Stands at both ends of each password, so that a part of one is seen, too."""
TEMPLATES = [
    "memcached://{u}:{p}@127.0.0.1:1",
    "memcached://:{p}@127.0.0.1:1?timeout=0.1",
    "memcached://{p}@127.0.0.1:1",
    "memcached+tls://{u}:{p}@127.0.0.1:1?ca=/nowhere",
    "memcached+unix://{u}:{p}@/nowhere/at/all",
    "memcached://{u}:{p}@h,h",
    "memcached://{u}:{p}@h:port",
    "memcached://{u}:{p}@[::1",
    "memcached://{u}:{p}@",
    "memcached://{u}:{p}",
    "memcached:{u}:{p}@h",
    "memcached//{u}:{p}@h",
    "{u}:{p}@h",
    "{u}:{p}@memcached://h",
    "redis://{u}:{p}@h/0",
    "memory://{u}:{p}@x",
    "memory://?cache=memcached://{u}:{p}@127.0.0.1:1",
    "memory://?cache={e}",
    "memory://?cache=memcached://{u}:{p}@127.0.0.1:1&on_cache_error=strict",
    "memory://?cache=redis://{u}:{p}@h",
    "memory://?cache={u}:{p}@h",
    "memory://?cache=memcached://{u}:{p}@h?nope=1",
    "memory://?ttl={u}:{p}@h",
    "memory://?nope=http://{u}:{p}@h",
    "memory://?{u}:{p}@h=1",
    "memory://?password={q}",
    "memory://?ttl=1&ttl={u}:{p}@h",
    "dynamodb://table?region=eu-west-1&endpoint=http://{u}:{p}@127.0.0.1:1",
    "dynamodb://table?region=eu-west-1&endpoint=http://{u}:{p}",
    "dynamodb://table?region=eu-west-1&endpoint=ftp://{u}:{p}@127.0.0.1:1",
    "dynamodb://{u}:{p}@table?region=eu-west-1",
    "sqlite://{u}:{p}@h/m.sqlite3",
    "http://{u}:{p}@h",
]
PASSWORDS = st.builds(
    f"{MARK}{{}}{MARK}".format,
    st.one_of(
        st.text(max_size=12),
        st.text("@:/?#&=%,;[]+ \\'\"\uff20", max_size=8),
        st.sampled_from(["%40", "%2540", "?ttl=", "&x=", "@h?ttl=1&cache=", "://", "@[", "]"]),
    ),
).filter(lambda word: "\x00" not in word and word.isprintable())


def url_of(template, password, *, quoted):
    word = quote(password, safe="") if quoted else password
    whole = quote(f"memcached://user:{word}@127.0.0.1:1", safe="")
    return template.format(u="user", p=word, e=whole, q=quote(password, safe=""))


def seen_of(url):
    """Return everything that is shown of a URL, used in every way."""
    seen = []

    def attempt(action):
        try:
            seen.append(repr(action()))
        except Exception as error:  # noqa: BLE001  # whatever it is, it shows nothing
            seen.extend((str(error), repr(error), "".join(traceback.format_exception(error))))
            with_pickle(error)

    def with_pickle(thing):
        try:
            seen.append(pickle.dumps(thing).decode("latin-1"))
        except (lpcm.LPCMError, TypeError, pickle.PicklingError) as error:
            seen.append(str(error))

    def use():
        engine = Engine.open(url)
        try:
            seen.extend(map(repr, (engine, engine.store, engine.stack.cache, engine._settings)))
            seen.append(engine.location)
            return LPCM("m", using=engine).get("k")
        finally:
            engine.close()

    attempt(lambda: config.parse(url))
    attempt(lambda: config.parse(url)._replace(namespace="x"))
    attempt(lambda: config.parse("memory://", {"cache": url}))
    attempt(lambda: config.cached_only(config.parse(url)))
    attempt(lambda: with_pickle(config.parse(url)))
    attempt(lambda: lpcm.configure(url, using="secret"))
    attempt(use)
    with_pickle(LPCM("m", url=url))
    seen.append(repr(LPCM("m", url=url)))
    seen.append(repr(vars(copy.deepcopy(LPCM("m", url=url)))))
    return seen


@settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(TEMPLATES), PASSWORDS, st.booleans())
@example(TEMPLATES[0], f"{MARK}?ttl={MARK}", False)
@example(TEMPLATES[0], f"{MARK}?x=1&{MARK}", False)
@example(TEMPLATES[16], f"{MARK}&{MARK}", False)
def test_no_password_is_shown(template, password, quoted):
    """Whatever a URL with a password is used for, and however malformed it is, none is shown."""
    # Without a host, what stands behind an @ of the password is the host, to every parser.
    assume(not template.endswith("{p}") or not set(password) & set("@%\uff20"))
    # Without a user, what stands before a : of the password is the user, whom pickles name.
    assume("//{p}@" not in template or not set(password) & set(":%"))
    for text in seen_of(url_of(template, password, quoted=quoted)):
        assert MARK not in text, text


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("json", [(), ("--json",)])
def test_no_command_shows_a_password(template, json, tmp_path, monkeypatch):
    """A command that fails, or whose words are in the wrong order, repeats no password."""
    monkeypatch.chdir(tmp_path)
    url = url_of(template, f"{MARK}x{MARK}", quoted=True)
    for words in (
        ("--url", url, "get", "m", "k"),
        ("--url", url, "maps"),
        ("--url", url, "audit"),
        ("--url", url, "table", "show"),
        ("copy", url, "memory://"),
        ("copy", "memory://", url, "--no-such-option"),
        (url, "get"),
        ("get", "m", "k", url),
        ("--namespace", "x", f"--ulr={url}", "get"),
        ("get", "m", f"--default={url}"),
        ("verify", url, url),
    ):
        result = CliRunner().invoke(main, [*json, *words])
        assert MARK not in result.output + result.stderr, words


def test_a_url_is_text():
    """A ``Url`` is text in every way but its repr, and a pickle takes it without a password."""
    url = Url("memcached://u:p@h")
    assert (url, hash(url), f"{url}") == ("memcached://u:p@h", hash("memcached://u:p@h"), str(url))
    assert copy.copy(url) is copy.deepcopy(url) is url
    with pytest.raises(TypeError, match="no pickle may hold"):
        pickle.dumps(url)
    with pytest.raises(TypeError):
        pickle.dumps(Secret("p"))
    plain = pickle.loads(pickle.dumps(Url("memory://x")))
    assert (plain, type(plain)) == ("memory://x", str)


def test_maps_are_pickled_without_a_password():
    """The pickle of a map has no password, however its URL has it, or is refused."""
    for url in (f"memcached://u:{MARK}@h", f"memory://?cache=memcached://u:{MARK}@h"):
        assert MARK.encode() not in pickle.dumps(LPCM("m", url=url))


@pytest.mark.parametrize(
    "url",
    [
        "memcached://a,b:11211",
        "memcached://[::1]:11211,[fe80::1%25eth0]:1",
        "memcached+unix:///tmp/m.sock",
        "dynamodb://arn:aws:dynamodb:eu-west-1:123456789012:table/users?region=eu-west-1",
        "dynamodb://shop?region=eu-west-1&endpoint=http://127.0.0.1:8000&timeout=2.5",
        "sqlite:////var/lib/app/m.sqlite3?max_value=100",
        "memory://?cache=memcached://h:1%26timeout=5",
    ],
)
def test_a_url_without_a_password_is_shown_as_it_is(url):
    """Nothing is hidden of a URL that has nothing to hide."""
    assert redact(url) == url


def test_messages_still_name_what_is_wrong():
    """A message hides a password, and shows the option, scheme or server it is about."""
    for url, words in {
        "memory://?tll=60&cache=none": "unknown option 'tll'",
        "memory://?ttl=soon": "option ttl='soon' of memory: could not convert",
        "redis://u:p@host/0": "unknown scheme 'redis' in 'redis://***@host/0'",
        "memory://?cache=memcached://u:p@h%3Fnope=1": "unknown option 'nope'",
    }.items():
        with pytest.raises(ConfigError) as raised:
            config.parse(url)
        assert words in str(raised.value)
    with pytest.raises(ConfigError, match="option ttl='soon'"):
        config.parse("memory://", {"ttl": "soon"})


@pytest.mark.parametrize("proxy", [f"http://u:{MARK}", f"http://u:{MARK}@h:port", f"u:{MARK}@[h"])
def test_a_proxy_shows_no_password(proxy, monkeypatch):
    """A proxy of the environment that cannot be used is an error without its password."""
    from lpcm.stores.dynamodb.http.endpoint import parse
    from lpcm.stores.dynamodb.http.proxy import proxy_for

    monkeypatch.setenv("https_proxy", proxy)
    with pytest.raises(ConfigError) as raised:
        proxy_for(parse("https://dynamodb.eu-west-1.amazonaws.com", "eu-west-1"))
    assert MARK not in str(raised.value)


@pytest.mark.parametrize("endpoint", [f"http://u:{MARK}@h:1", f"http://u:{MARK}", f"u:{MARK}@h"])
def test_an_endpoint_of_the_environment_shows_no_password(endpoint, monkeypatch):
    """An endpoint that AWS's environment variable has wrong is an error without its password."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    engine = Engine.open("dynamodb://table?region=eu-west-1")
    try:
        with pytest.raises(lpcm.LPCMError) as raised:
            LPCM("m", using=engine).get("k")
    finally:
        engine.close()
    assert MARK not in "".join(traceback.format_exception(raised.value))
