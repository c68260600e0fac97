"""pytest fixtures of the servers in ``checks.servers``: one each per test process.

Use them by ``pytest_plugins = ["checks.fixtures"]`` in a top-level ``conftest.py``. A
test that kills, pauses or fills its server starts a server of its own instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from checks import servers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from checks.servers import Server

__all__ = ["aws", "dynoxide", "extenddb", "memcached"]


@pytest.fixture(scope="session")
def memcached() -> Iterator[Server]:
    """Yield a running memcached."""
    with servers.memcached() as server:
        yield server


@pytest.fixture(scope="session")
def dynoxide(aws: None) -> Iterator[Server]:  # noqa: ARG001  # asked for its effect
    """Yield a running dynoxide."""
    with servers.dynoxide() as server:
        yield server


@pytest.fixture(scope="session")
def extenddb(aws: None) -> Iterator[Server]:  # noqa: ARG001  # asked for its effect
    """Yield a running ExtendDB."""
    with servers.extenddb() as server:
        yield server


@pytest.fixture(scope="session")
def aws() -> Iterator[None]:
    """Set the environment's AWS credentials to the ones the engines accept."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_REGION"):
            patch.delenv(name, raising=False)
        for name, value in servers.AWS.items():
            patch.setenv(name, value)
        yield
