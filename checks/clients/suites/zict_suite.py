"""A map in the place of zict's directory of files."""

import zict
from zict.tests import utils_test

from lpcm import LPCM


class File(zict.common.ZictBase):
    """A buffer for bytes, in a map of its own for each folder."""

    def __init__(self, directory, memmap=False):
        super().__init__()
        self.directory, self.memmap = directory, memmap
        self.map = LPCM(f"zict-{directory}", live=False)

    def __str__(self):
        return f"<File: {self.directory}, {len(self)} elements>"

    __repr__ = __str__

    def __getitem__(self, key):
        return bytearray(self.map[key])

    def __setitem__(self, key, value):
        pieces = value if isinstance(value, (tuple, list)) else (value,)
        if not all(isinstance(piece, (bytes, bytearray, memoryview)) for piece in pieces):
            raise TypeError(f"value must be bytes-like or a list of such, not {type(value)}")
        if not isinstance(key, str):
            raise TypeError(f"key must be str, not {type(key)}")
        self.map[key] = b"".join(pieces)

    def __delitem__(self, key):
        del self.map[key]

    def __contains__(self, key):
        return key in self.map

    def __len__(self):
        return len(self.map)

    def __iter__(self):
        return iter(self.map)


zict.File = File


def pytest_sessionstart():
    """Open the store: tests count the descriptors that they leave open."""
    utils_test.check_mapping(File("opened"))
