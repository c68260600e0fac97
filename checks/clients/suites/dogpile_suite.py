"""lpcm in the place of the backends that dogpile's tests of regions and decorators use."""

import secrets

import dogpile.testing.fixtures as theirs
from dogpile_lpcm import Backend


class Fresh(Backend):
    """A map of its own for each backend, as those in memory have a dict."""

    def __init__(self, arguments):
        self.arguments = arguments
        known = {name: arguments[name] for name in ("name", "lock_timeout") if name in arguments}
        super().__init__({"name": f"dogpile-{secrets.token_hex(8)}", **known})
        self._cache = self.entries  # the tests look at what is in it


class AsMock(Fresh, theirs.MockBackend):
    """In the place of their mock backend, whose mutex never waits."""

    def get_mutex(self, key):
        return theirs.MockMutex(key)


def pytest_configure():
    """Register them under the names that the tests ask for."""
    theirs._backend_loader.register("lpcm", __name__, "Fresh")
    theirs._backend_loader.register("mock", __name__, "AsMock")
