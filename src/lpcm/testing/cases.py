"""``LPCMTestCase``: a unittest case whose maps are empty at the beginning of every class.

Knows unittest only; ``lpcm.django.test`` has the same for Django's own classes.
"""

from __future__ import annotations

import unittest
from typing import TYPE_CHECKING, Any

from lpcm.testing import insulate, rollback
from lpcm.testing.limits import max_reads, max_writes

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

__all__ = ["LPCMMixin", "LPCMTestCase"]

if TYPE_CHECKING:
    _Case = unittest.TestCase
else:
    _Case = object


class LPCMMixin(_Case):
    """Put before any class derived from ``unittest.TestCase``: a namespace for each test.

    It begins with what the class's ``setUpClass`` wrote after ``super().setUpClass()``.
    """

    @classmethod
    def setUpClass(cls) -> None:  # as unittest's
        """Begin with empty maps."""
        cls.enterClassContext(insulate())
        super().setUpClass()

    def run(self, result: Any = None) -> Any:
        """Run the test, its set-up and clean-ups included; undo what it wrote."""
        with rollback():
            return super().run(result)

    def assertMaxReads(self, number: int) -> AbstractContextManager[None]:  # noqa: N802  # as unittest's
        """Fail where the block makes more than so many reading requests."""
        return max_reads(number)

    def assertMaxWrites(self, number: int) -> AbstractContextManager[None]:  # noqa: N802  # as unittest's
        """Fail where the block makes more than so many writing requests."""
        return max_writes(number)


class LPCMTestCase(LPCMMixin, unittest.TestCase):
    """A test case whose every test starts with empty maps, or as ``setUpClass`` filled them.

    >>> class Visits(LPCMTestCase):
    ...     def test_counts(self):
    ...         with self.assertMaxWrites(1):
    ...             LPCM("visits").increment("home")
    """
