"""What holds of any entry, whoever wrote it: the documented outcomes, and no others."""

from lpcm import BatchError, LPCMError

__all__ = ["Outcome", "behaves"]


class Outcome:
    """What reading an entry gave: a value, an error, or that it is absent."""

    def __init__(self, read):
        self.value = self.error = None
        self.absent = False
        try:
            self.value = read()
        except LPCMError as error:
            self.error = error
        except KeyError:
            self.absent = True

    def __repr__(self):
        return f"value {self.value!r}, error {self.error!r}, absent {self.absent}"


def behaves(m, key, beside):
    """Check what may be asked of the entry; ``beside``: the map's other entries, all readable."""
    found = Outcome(lambda: m[key])
    name = m.name
    if found.error is not None:
        assert repr(name) in str(found.error)
        assert repr(key) in str(found.error)
    assert (key in m) is not found.absent
    keys = list(m)
    assert [it for it in keys if it != key] == list(beside)
    assert (key in keys) is not found.absent
    for walk in (lambda: dict(m.items()), m.copy, lambda: m.get_many([*beside, key])):
        got, errors = _walked(walk)
        assert list(errors) == ([] if found.error is None else [key])
        assert got is None or beside.items() <= got.items()
        assert got is None or (key in got) is (found.error is None and not found.absent)
    for change in (
        lambda: m.entry(key),
        lambda: m.ttl(key),
        lambda: m.increment(key),
        lambda: m.transform(key, lambda value: value),
        lambda: m.setdefault(key, 1),
        lambda: m.expire(key, 1e6),
    ):
        outcome = Outcome(lambda: _tried(change))  # noqa: B023  # called at once
        assert outcome.absent <= found.absent or found.error is None
    before = Outcome(lambda: m[key])
    popped = Outcome(lambda: m.pop(key))
    if before.error is not None:
        assert popped.error is not None
        assert key in m  # nothing is lost
    m[key] = "replaced"
    assert m[key] == "replaced"
    del m[key]
    assert key not in m


def _tried(change):
    try:
        return change()
    except TypeError:  # what Python says of the value that is there, as of any
        return None


def _walked(walk):
    """Return what was read of others, None where that is lost with the walk, and the errors."""
    try:
        return walk(), {}
    except BatchError as batch:
        return batch.found or None, batch.errors
