"""Increments on every store: Python's own arithmetic, exact, of Python's type."""

import math
from decimal import Decimal
from fractions import Fraction

import pytest

from lpcm import LPCM, Engine
from lpcm.testing import FakeClock

D = Decimal

BIG = 2**63
LONG = D("0.1234567890123456789012345678901234567890")  # 40 digits: over the context's 28
MISSING = object()

# stored, delta, what is left afterwards
TABLE = [
    (0, 1, 1),
    (41, 1, 42),
    (1, -1, 0),
    (1, 0, 1),
    (True, 1, 2),
    (False, 0, 0),
    (True, True, 2),
    (1, True, 2),
    (1, False, 1),
    (True, 0.5, 1.5),
    (True, D("0.5"), D("1.5")),
    (BIG - 2, 1, BIG - 1),
    (BIG - 1, 1, BIG),
    (BIG, 1, BIG + 1),
    (BIG, -1, BIG - 1),
    (-BIG, -1, -BIG - 1),
    (-BIG - 1, 1, -BIG),
    (1, BIG, BIG + 1),
    (BIG - 1, BIG - 1, 2 * BIG - 2),
    (-BIG, -BIG, -2 * BIG),
    (BIG - 1, -BIG, -1),
    (10**38 - 1, 1, 10**38),
    (10**38, 1, 10**38 + 1),
    (-(10**38), -1, -(10**38) - 1),
    (10**400, 1, 10**400 + 1),
    (10**400, -(10**400), 0),
    (2**53, 1, 2**53 + 1),
    (2**53, 1.0, 2.0**53),
    (1, 0.5, 1.5),
    (1, 1.0, 2.0),
    (0, -0.0, 0.0),
    (-0.0, 0, 0.0),
    (-0.0, -0.0, -0.0),
    (0.0, -0.0, 0.0),
    (0.1, 0.2, 0.30000000000000004),
    (0.5, 1, 1.5),
    (1e308, 1e308, math.inf),
    (5e-324, 5e-324, 1e-323),
    (math.inf, 1, math.inf),
    (1, math.inf, math.inf),
    (math.inf, -math.inf, math.nan),
    (-math.inf, -1.5, -math.inf),
    (math.nan, 1, math.nan),
    (1, math.nan, math.nan),
    (D("0.1"), D("0.2"), D("0.3")),
    (D("1.10"), 1, D("2.10")),
    (1, D("1.10"), D("2.10")),
    (D(1), True, D(2)),
    (LONG, 1, 1 + Fraction(LONG)),
    (LONG, LONG, 2 * Fraction(LONG)),
    (1, LONG, 1 + Fraction(LONG)),
    (D("1E+50"), D("1E-50"), 10**50 + Fraction(1, 10**50)),
    (D(0), D("-0.00"), D("0.00")),
    (D("Infinity"), 1, D("Infinity")),
    (1, D("-Infinity"), D("-Infinity")),
    (10**60, D("0.5"), 10**60 + Fraction(1, 2)),
    (MISSING, 1, 1),
    (MISSING, -5, -5),
    (MISSING, 0, 0),
    (MISSING, True, 1),
    (MISSING, 0.5, 0.5),
    (MISSING, -0.0, 0.0),
    (MISSING, 10**40, 10**40),
    (MISSING, BIG, BIG),
    (MISSING, D("1.10"), D("1.10")),
    (MISSING, LONG, Fraction(LONG)),
]

# stored, delta: what no arithmetic is for
REFUSED = [
    *[(stored, 1) for stored in ("1", "", None, [1], [], {}, (1,), {1}, b"1")],
    *[(stored, 0.5) for stored in ("1", None, [1])],
    *[(stored, D(1)) for stored in ("1", None, [1])],
    *[(1, delta) for delta in ("1", None, [1], (1,), b"1", 1j, Fraction(1, 2), object())],
    *[(MISSING, delta) for delta in ("1", None, [1], 1j)],
    (1.5, D(1)),
    (D(1), 1.5),
    (math.inf, D(1)),
]


@pytest.fixture(scope="module", params=["memory", "sqlite"])
def opened(request, tmp_path_factory):
    """Yield an engine and its clock."""
    path = tmp_path_factory.mktemp("increment") / "m.sqlite3"
    url = "memory://" if request.param == "memory" else f"sqlite:///{path}?synchronous=normal"
    clock = FakeClock()
    engine = Engine.open(url, clock=clock)
    yield engine, clock
    engine.close()


@pytest.fixture
def clock(opened):
    """Return the map's clock."""
    return opened[1]


@pytest.fixture
def m(opened):
    """Return an empty map."""
    made = LPCM("m", using=opened[0])
    made.clear()
    return made


def check(value, wanted):
    """Check that a value is the wanted one, of its type; a Fraction stands for an exact Decimal."""
    if isinstance(wanted, Fraction):
        assert type(value) is D
        assert Fraction(value) == wanted
    else:
        assert type(value) is type(wanted)
        assert repr(value) == repr(wanted)


@pytest.mark.parametrize(("stored", "delta", "wanted"), TABLE)
def test_table(m, stored, delta, wanted):
    """An increment leaves and returns the sum."""
    if stored is not MISSING:
        m["k"] = stored
    check(m.increment("k", delta), wanted)
    check(m.get("k"), wanted)
    assert m.ttl("k") is None


@pytest.mark.parametrize(("stored", "delta", "wanted"), TABLE)
def test_table_is_pythons(stored, delta, wanted):
    """The table says what Python's ``+`` says; where that rounds a Decimal, the exact sum."""
    stored = 0 if stored is MISSING else stored
    if not isinstance(wanted, Fraction):
        check(stored + delta, wanted)
    else:
        assert Fraction(stored) + Fraction(delta) == wanted


@pytest.mark.parametrize(("stored", "delta", "wanted"), TABLE)
def test_decrement(m, stored, delta, wanted):
    """A decrement is the increment of the negated delta, exactly."""
    if stored is not MISSING:
        m["k"] = stored
    negated = delta.copy_negate() if isinstance(delta, D) else -delta
    check(m.decrement("k", negated), wanted)
    check(m.get("k"), wanted)


@pytest.mark.parametrize(("stored", "delta", "wanted"), TABLE)
def test_expiry(m, clock, stored, delta, wanted):
    """An increment keeps an expiry; an expired entry counts as absent."""
    if stored is MISSING:
        return
    m.set("k", stored, ttl=60)
    clock.advance(59)
    check(m.increment("k", delta), wanted)
    assert m.ttl("k") == 1
    clock.advance(1)
    m.increment("k", delta)
    check(m.get("k"), delta + 0 if not isinstance(delta, D) or delta != LONG else Fraction(LONG))
    assert m.ttl("k") is None


@pytest.mark.parametrize(("stored", "delta"), REFUSED)
def test_refused(m, stored, delta):
    """What is no number is a TypeError, and leaves the entry as it was, etag and all."""
    if stored is not MISSING:
        m.set("k", stored, ttl=60)
    before = m.items() and m.entry("k") if stored is not MISSING else None
    for operation in (m.increment, m.decrement):
        with pytest.raises(TypeError):
            operation("k", delta)
    if before is None:
        assert not m
    else:
        assert repr(m.entry("k")) == repr(before)


def test_a_sum_out_of_range_is_pythons_error(m):
    """An int too large for a float raises OverflowError, as Python does, and writes nothing."""
    m["k"] = 10**400
    with pytest.raises(OverflowError):
        m.increment("k", 0.5)
    assert m["k"] == 10**400


def test_a_decimal_sum_of_too_many_digits_raises(m):
    """A sum no room is made for is an error, never a rounded number."""
    m["k"] = D("1E+60000")
    with pytest.raises(ArithmeticError):
        m.increment("k", 1)
    assert m["k"] == D("1E+60000")


def test_bool_subclass_and_int_subclass(m):
    """A sum of a subclass of int is a plain int."""

    class Count(int):
        pass

    assert type(m.increment("k", Count(3))) is int
    assert m.increment("k", Count(3)) == 6
    m["k"] = 10**30
    assert m.increment("k", Count(3)) == 10**30 + 3
