"""The projects whose suites are run: which of their tests, and what is left out as a whole.

A project's tests of other implementations (Redis, MongoDB, files) say nothing about lpcm and are
not chosen. Among those that are chosen, each that is not expected to pass is in
``exclusions.toml``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from checks.clients.stores import STORES

__all__ = ["PROJECTS", "Project"]

_DURABLE = ("sqlite", "memory", "dynamodb")


@dataclass(frozen=True, slots=True)
class Project:
    """A project, the tests of it that are run, and how."""

    name: str
    """What it is called here; ``suites/NAME_suite.py`` puts lpcm in its place."""
    sdist: str
    """Its archive, without the ending."""
    tests: tuple[str, ...]
    """What pytest gets: files of the project, and files of ``suites``."""
    chosen: str
    """Which of its tests these are, for the reader."""
    stores: tuple[str, ...] = STORES
    settings: tuple[str, ...] = ()
    """Lines of the project's own pytest configuration that its tests need."""
    environment: dict[str, str] = field(default_factory=dict[str, str])
    timeout: float = 560.0
    """Seconds that its suite may take on one store."""


PROJECTS = (
    Project(
        "cachelib",
        "cachelib-0.17.0",
        ("tests/test_simple_cache.py", "tests/test_base_cache.py", "tests/test_serializers.py"),
        "the tests of SimpleCache, of the base class and of the serializers",
    ),
    Project(
        "dogpile",
        "dogpile_cache-1.5.0",
        ("SUITES/dogpile_tests.py", "tests/cache/test_region.py", "tests/cache/test_decorator.py"),
        "the suites for backends, serializers and mutexes; regions and decorators",
        settings=("python_classes = *Test", "markers = time_intensive"),
    ),
    Project(
        "limits",
        "limits-5.8.0",
        (
            "tests/test_storage.py",
            "tests/test_strategy.py",
            "tests/aio/test_storage.py",
            "tests/aio/test_strategy.py",
            "tests/test_limits.py",
            "tests/test_ratelimit_parser.py",
            "tests/test_limit_granularities.py",
            "tests/test_utils.py",
            "tests/integration/test_concurrency.py",
            "-k=in-memory or not (redis or memcached or mongodb or valkey)",
        ),
        "storages and strategies, blocking and awaited, with lpcm for memory; concurrency",
    ),
    Project(
        "celery",
        "celery-5.7.0",
        (
            "t/unit/backends/test_base.py",
            "t/unit/tasks/test_chord.py",
            "t/unit/tasks/test_result.py",
        ),
        "the base classes of result backends, chords, results",
        settings=("python_classes = test_*",),
    ),
    Project(
        "requests-cache",
        "requests_cache-1.3.3",
        ("SUITES/requests_cache_tests.py",),
        "the suites for storages and caches that each of its own backends is held to",
        stores=_DURABLE,
        environment={"USE_PYTEST_HTTPBIN": "true"},
    ),
    Project(
        "fastmcp",
        "fastmcp-4.2.3",
        (
            "tests/client/client/test_kv_response_cache.py",
            "tests/server/test_event_store.py",
            "tests/server/middleware/test_caching.py",
            "tests/server/auth/test_oauth_proxy_storage.py",
            "tests/server/auth/oauth_proxy/test_revocation.py",
            "tests/server/auth/oauth_proxy/test_tokens.py",
        ),
        "what it keeps in a py-key-value store: answers, events, clients, tokens",
        settings=("markers = integration",),
    ),
    Project(
        "langgraph",
        "langgraph_checkpoint_conformance-0.0.2",
        ("SUITES/langgraph_tests.py",),
        "the conformance tests for checkpoint savers",
    ),
    Project(
        "zict",
        "zict-3.0.0",
        ("zict/tests/test_file.py", "SUITES/zict_tests.py"),
        "a map for its files; its checks of mappings on each buffer over a map",
    ),
    Project(
        "diskcache",
        "diskcache-5.6.3",
        ("tests/test_index.py", "tests/test_recipes.py"),
        "Index, and the recipes over a cache",
        stores=_DURABLE,
    ),
)
