"""The contract of ``LPCM``, as tests that the test class of every store inherits.

Knows maps by their public face only: a test class overrides ``using``.

    class TestMine(MappingContract):
        def setup_method(self) -> None:
            super().setup_method()
            self.engine = Engine.open("mine://...", clock=self.clock)

        def using(self) -> Engine:
            return self.engine

Invariant: each test starts from an empty store and moves ``clock``, never the machine's.
"""

from lpcm.testing.contracts.mapping.entries import EntryTests
from lpcm.testing.contracts.mapping.expiry import ExpiryTests
from lpcm.testing.contracts.mapping.keys import KeyTests
from lpcm.testing.contracts.mapping.protocol import ProtocolTests
from lpcm.testing.contracts.mapping.views import ViewTests

__all__ = ["MappingContract"]


class MappingContract(ProtocolTests, KeyTests, ViewTests, EntryTests, ExpiryTests):
    """What a map does, whatever it lives in. Override ``using``."""
