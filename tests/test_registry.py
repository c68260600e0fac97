"""Classes whose objects are values: how they are registered, stored, evolved and refused."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from dataclasses import InitVar, dataclass, field
from enum import Enum, Flag, IntEnum, IntFlag
from typing import Any, ClassVar, NamedTuple

import attrs
import msgspec
import pytest
from pydantic import BaseModel, ConfigDict, Field, RootModel, computed_field

from lpcm import register
from lpcm.errors import ConfigError, ValueDecodingError, ValueEncodingError
from lpcm.values import registry as _registry
from lpcm.values.codec import Codec, Form
from tests.strategies import same

TEXT = Codec(Form.TEXT)
TREE = Codec(Form.TREE)


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget after each test what it registered."""
    monkeypatch.setattr(_registry, "_by_class", dict(_registry._by_class))
    monkeypatch.setattr(_registry, "_by_name", dict(_registry._by_name))


def check_round_trip(value: Any) -> None:
    """Assert that a value comes back from both forms, alone and inside others."""
    for codec in (TEXT, TREE):
        for whole in (value, [value], {"a": (value,)}, {1: value}):
            back = codec.decode(*codec.encode(whole))
            assert back == whole
            assert type(back) is type(whole)
        back = codec.decode(*codec.encode(value))
        assert type(back) is type(value)
        assert back is not value or isinstance(value, Enum)


def stored(value: Any) -> Any:
    """Return the text that is stored of a value."""
    return TEXT.encode(value).data


class Colour(Enum):
    """An Enum with an alias."""

    RED = ("r", 1)
    BLUE = ("b", 2)
    CRIMSON = RED


class Level(IntEnum):
    """An Enum that is an int too."""

    LOW = 1


class Right(Flag):
    """An Enum whose values combine."""

    READ = 1
    WRITE = 2


class Mode(IntFlag):
    """A Flag that keeps bits without a name, and names a combination."""

    R = 4
    W = 2
    RW = 6


class Pair(NamedTuple):
    """A NamedTuple with a default."""

    left: Any
    right: int = 0


@attrs.define
class Part:
    """An attrs class with a private field, a converted one and one that is computed."""

    _number: int
    tags: set[str] = attrs.field(converter=set, factory=set)
    twice: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.twice = 2 * self._number


@attrs.frozen(slots=False)
class Whole:
    """A frozen attrs class that holds others."""

    part: Part
    label: str = attrs.field(default="", alias="called", kw_only=True)


class Track(msgspec.Struct, kw_only=True, frozen=True, rename="camel", tag=True):
    """A Struct with other names in its messages."""

    track_number: int
    played_by: list[str] = msgspec.field(default_factory=list)


@dataclass
class Point:
    """A dataclass with everything a field can be."""

    x: int
    y: float = 0.0
    tags: set[str] = field(default_factory=set)
    norm: float = field(init=False, default=0.0)
    unit: ClassVar[str] = "cm"

    def __post_init__(self) -> None:
        self.norm = abs(self.x) + abs(self.y)


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A dataclass that holds others."""

    corner: Point
    colour: Colour = Colour.RED


class Address(BaseModel):
    """A model with an alias, as web APIs have them."""

    postal_code: str = Field(alias="postalCode")


class User(BaseModel):
    """A strict model with an alias, a model inside and a computed field."""

    model_config = ConfigDict(extra="forbid")
    user_id: int = Field(validation_alias="userId", serialization_alias="id")
    tags: set[str] = set()
    home: Address | None = None

    @computed_field
    def label(self) -> str:
        """Return what is computed, so never stored."""
        return f"user {self.user_id}"


# What can be registered


def test_an_enum_is_stored_by_its_members_name():
    """An Enum's member comes back as itself; its value may change, its name not."""
    register(Colour, name="Colour")
    register(Level, name="Level")
    for member in (*Colour, Colour.CRIMSON, Level.LOW):
        check_round_trip(member)
    assert stored(Colour.BLUE) == '{"!@Colour/1":"BLUE"}'
    assert stored(Level.LOW) == '{"!@Level/1":"LOW"}'
    assert TEXT.decode(*TEXT.encode(Colour.BLUE)) is Colour.BLUE


def test_a_combination_of_flags_is_stored_by_its_members_names():
    """A Flag comes back whatever it combines: nothing, one, several, or what has a name."""
    register(Right, name="Right")
    register(Mode, name="Mode")
    for flag in (Right.READ, Right.READ | Right.WRITE, Right(0), ~Right.READ, Mode.RW, Mode(0)):
        check_round_trip(flag)
    assert stored(Right.READ) == '{"!@Right/1":"READ"}'
    assert stored(Right.READ | Right.WRITE) == '{"!@Right/1":["READ","WRITE"]}'
    assert stored(Mode.R | Mode.W) == '{"!@Mode/1":"RW"}'
    with pytest.raises(ValueDecodingError, match="does not fit the class"):
        TEXT.decode('{"!@Right/1":["READ","GONE"]}', "json")


def test_a_namedtuple_is_stored_by_its_fields():
    """A NamedTuple comes back as itself; a field added with a default needs no new version."""
    register(Pair, name="Pair")
    check_round_trip(Pair((1, {2}), 3))
    check_round_trip({"a": [Pair(Pair(None))]})
    assert stored(Pair("a", 1)) == '{"!@Pair/1":{"left":"a","right":1}}'
    assert TEXT.decode('{"!@Pair/1":{"left":"a"}}', "json") == Pair("a")


def test_an_attrs_class_is_stored_by_its_init_fields():
    """An attrs class comes back through its ``__init__``, whatever that calls its fields."""
    register(Part, name="Part")
    register(Whole, name="Whole")
    check_round_trip(Part(1, ["a"]))  # type: ignore[arg-type]  # what the converter takes
    check_round_trip(Whole(Part(2), called="x"))
    assert stored(Part(1)) == '{"!@Part/1":{"_number":1,"tags":{"!set":[]}}}'


def test_a_struct_is_stored_by_its_fields():
    """A msgspec Struct comes back by the names that its fields have in Python."""
    register(Track, name="Track")
    check_round_trip(Track(track_number=1, played_by=["a"]))
    assert stored(Track(track_number=1)) == '{"!@Track/1":{"played_by":[],"track_number":1}}'


def test_a_subclass_of_a_builtin_is_stored_by_what_it_is_given():
    """OrderedDict, defaultdict, Counter, deque and bytearray come back with encode= and decode=."""
    ways: dict[type, Any] = {
        OrderedDict: lambda value: [list(item) for item in value.items()],
        Counter: dict,
        deque: list,
        bytearray: bytes,
    }
    for cls, encode in ways.items():
        register(cls, name=cls.__name__, encode=encode, decode=cls)
    register(
        defaultdict,
        name="ints",
        encode=dict,
        decode=lambda data: defaultdict(int, data),
    )
    for value in (OrderedDict(b=1, a=2), Counter("abb"), deque("ab"), bytearray(b"a")):
        check_round_trip(value)
    check_round_trip(defaultdict(int, a=1))


def test_a_dataclass_is_stored_by_its_init_fields():
    """A dataclass comes back through its ``__init__``; what that computes is not stored."""
    register(Point, name="Point")
    register(Box, name="Box")
    register(Colour, name="Colour")
    check_round_trip(Point(1, -2.5, {"a"}))
    check_round_trip(Box(corner=Point(0), colour=Colour.BLUE))
    assert stored(Point(1)) == '{"!@Point/1":{"tags":{"!set":[]},"x":1,"y":0.0}}'
    back = TEXT.decode('{"!@Point/1":{"x":3}}', "json")
    assert same([back.x, back.y, back.tags, back.norm], [3, 0.0, set(), 3.0])


def test_a_pydantic_model_is_stored_by_its_field_names():
    """A model comes back, whatever its aliases; computed fields are not stored."""
    register(User, name="User")
    register(RootModel[list[int]], name="Numbers")
    user = User(userId=7, tags={"a"}, home=Address(postalCode="10115"))
    check_round_trip(user)
    check_round_trip(User(userId=7))
    check_round_trip(RootModel[list[int]]([1, 2]))
    assert stored(user) == (
        '{"!@User/1":{"home":{"postal_code":"10115"},"tags":{"!set":["a"]},"user_id":7}}'
    )


def test_any_class_is_stored_by_functions():
    """A class of any kind is stored by what ``encode`` gives and ``decode`` takes."""
    register(
        complex, name="complex", encode=lambda z: (z.real, z.imag), decode=lambda p: complex(*p)
    )
    register(slice, name="slice", encode=lambda s: [s.start, s.stop], decode=lambda p: slice(*p))
    check_round_trip(1 + 2j)
    check_round_trip(slice(1j, None))
    assert stored(1 + 2j) == '{"!@complex/1":{"!tuple":[1.0,2.0]}}'


def test_functions_come_before_what_a_class_is():
    """``encode`` and ``decode`` win where a class could be stored without."""
    register(
        Colour,
        name="Colour",
        encode=lambda colour: colour.value[0],
        decode=lambda letter: next(colour for colour in Colour if colour.value[0] == letter),
    )
    check_round_trip(Colour.BLUE)
    assert stored(Colour.BLUE) == '{"!@Colour/1":"b"}'


def test_register_is_a_decorator_and_a_call():
    """``@register``, ``@register(...)`` and ``register(cls)`` return the class as it was."""

    @register
    class One(Enum):
        A = 1

    @register(name="two", version=3)
    class Two(Enum):
        A = 1

    assert register(Colour, name="three") is Colour
    assert stored(One.A) == f'{{"!@{One.__qualname__}/1":"A"}}'
    assert stored(Two.A) == '{"!@two/3":"A"}'
    assert type(One) is type(Two) is type(Colour)


def test_a_registered_object_may_be_in_a_set():
    """A registered object that hashes may be a member of a set."""
    register(Colour, name="Colour")
    for codec in (TEXT, TREE):
        value = {Colour.RED, Colour.BLUE, 1}
        assert same(codec.decode(*codec.encode(value)), value)


def test_a_name_may_hold_a_slash():
    """The stored name may be any text, a slash and a number in it included."""
    register(Colour, name="app/1/Colour")
    check_round_trip(Colour.RED)


# Versions


def upgrade(data: Any, version: int) -> Any:
    """Turn what older versions of Point stored into what this one takes."""
    if version == 1:
        data = {"x": data["left"], "y": data["top"]}
    return {**data, "tags": {f"from {version}"}}


def test_an_older_version_is_upgraded():
    """What an older version stored goes through ``upgrade``, with the version it has."""
    register(Point, name="Point", version=3, upgrade=upgrade)
    old = TEXT.decode('{"!@Point/1":{"left":1,"top":2.5}}', "json")
    assert old == Point(1, 2.5, {"from 1"})
    newer = TEXT.decode('[{"!@Point/2":{"x":1,"y":2.5}}]', "json")
    assert newer == [Point(1, 2.5, {"from 2"})]
    assert TREE.decode({"!@Point/2": {"x": 1, "y": {"!float": 2.5}}}, None) == newer[0]
    check_round_trip(Point(1))
    assert stored(Point(1)).startswith('{"!@Point/3":')


def test_an_older_version_without_upgrade_is_refused():
    """What an older version stored is never taken for the present one."""
    register(Colour, name="Colour", version=2)
    with pytest.raises(ValueDecodingError, match=r"has version 1, .* knows 2 and no upgrade="):
        TEXT.decode('{"!@Colour/1":"RED"}', "json")


def test_a_newer_version_is_refused():
    """What a newer version stored is refused, saying to upgrade the program."""
    register(Colour, name="Colour", version=2, upgrade=upgrade)
    with pytest.raises(ValueDecodingError, match="has version 3, this process knows 2: upgrade"):
        TEXT.decode('{"!@Colour/3":"RED"}', "json")


def test_an_unregistered_name_is_refused_and_imports_nothing():
    """A stored name that was not registered is refused, and nothing is imported for it."""
    for name in ("Nobody", "os.system", "tests.test_registry.Point"):
        with pytest.raises(ValueDecodingError, match=f"class '{name}', which this process has not"):
            TEXT.decode(f'{{"!@{name}/1":{{"x":1}}}}', "json")


@pytest.mark.parametrize(
    "text",
    [
        '{"!@Colour/1":"GREEN"}', '{"!@Colour/1":["RED"]}', '{"!@Colour/1":null}',
        '{"!@Point/1":{}}', '{"!@Point/1":{"x":1,"z":2}}', '{"!@Point/1":[]}', '{"!@Point/1":null}',
        '{"!@User/1":{}}', '{"!@User/1":{"user_id":"seven"}}', '{"!@User/1":7}',
        '{"!@complex/1":[1]}', '{"!@complex/1":{}}', '{"!@complex/1":[1,0]}',
    ],
)  # fmt: skip
def test_what_no_longer_fits_the_class_is_refused(text):
    """What the class does not take is a ValueDecodingError, never the KeyError of a missing key."""
    register(Colour, name="Colour")
    register(Point, name="Point")
    register(User, name="User")
    register(complex, name="complex", encode=list, decode=lambda pair: pair[0] / pair[1])
    with pytest.raises(ValueDecodingError, match="does not fit the class") as caught:
        TEXT.decode(text, "json")
    assert caught.value.__cause__ is not None
    assert not isinstance(caught.value, LookupError)


def test_an_upgrade_that_fails_says_which_version():
    """An error of ``upgrade`` is a ValueDecodingError that names class and version."""
    register(Point, name="Point", version=2, upgrade=upgrade)
    with pytest.raises(ValueDecodingError, match=r"'Point' of version 1 does not fit.*KeyError"):
        TEXT.decode('{"!@Point/1":{}}', "json")


# Refusals


def test_a_name_belongs_to_one_class():
    """A stored name can not be given to a second class, nor a class have two names."""
    register(Colour, name="Colour")
    with pytest.raises(ConfigError, match=r"'Colour' is taken by .*\.Colour: give .* name="):
        register(Point, name="Colour")
    with pytest.raises(ConfigError, match="Colour is registered already, as 'Colour'"):
        register(Colour, name="Paint")
    check_round_trip(Colour.RED)
    with pytest.raises(ValueEncodingError):
        TEXT.encode(Point(1))


def test_a_class_may_be_registered_again():
    """A module loaded again may register its class again; the last registration counts."""

    def load(value: int) -> Any:
        class Reloaded(Enum):
            A = value

        return register(Reloaded, name="Reloaded")

    old, new = load(1), load(2)
    assert TEXT.decode(*TEXT.encode(old.A)) is new.A
    register(new, name="Reloaded", version=2, upgrade=upgrade)
    assert stored(new.A) == '{"!@Reloaded/2":"A"}'


@pytest.mark.parametrize(
    ("cls", "options", "message"),
    [
        (object, {}, "cannot register object: give encode= and decode=, since it is no Enum"),
        (int, {}, "cannot register int: give encode= and decode="),
        (complex, {"encode": str}, "cannot register complex: encode= and decode= go together"),
        (complex, {"decode": complex}, "encode= and decode= go together"),
        (Colour, {"version": 0}, "version must be an int from 1 on, not 0"),
        (Colour, {"version": "2"}, "version must be an int from 1 on, not '2'"),
        (Colour, {"version": True}, "version must be an int from 1 on, not True"),
        ("app.Colour", {}, "register takes a class, and its name as name=, not 'app.Colour'"),
    ],
)
def test_what_cannot_be_registered(cls, options, message):
    """A class without a way to be stored, half a way, or a bad version is a ConfigError."""
    with pytest.raises(ConfigError, match=message):
        register(cls, **options)


def test_a_dataclass_that_forgets_what_it_was_made_with_is_refused():
    """A dataclass with an InitVar could be written but never read, so it is refused at once."""

    @dataclass
    class Hashed:
        name: str
        secret: InitVar[str]

    with pytest.raises(ConfigError, match="do not keep the InitVars they are made with"):
        register(Hashed)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (Colour.RED, "Colour"),
        (Right.READ | Right.WRITE, "Right"),
        (Point(1), "Point"),
        (Address(postalCode="1"), "Address"),
        (Pair(1), "Pair"),
        (Part(1), "Part"),
        (Track(track_number=1), "Track"),
    ],
)
def test_an_unregistered_class_is_refused_with_advice(value, name):
    """An object of a class that could be registered is refused, saying so, with its path."""
    with pytest.raises(ValueEncodingError) as caught:
        TEXT.encode({"a": [value]})
    assert str(caught.value) == f"value['a'][0] is of type {name}: lpcm.register({name}) first"


def test_a_subclass_is_a_class_of_its_own():
    """An object of a registered class's subclass is refused: it would come back as its parent."""

    @dataclass
    class Point3D(Point):
        z: int = 0

    register(Point, name="Point")
    with pytest.raises(ValueEncodingError, match=r"Point3D: lpcm\.register\(.*Point3D\) first"):
        TEXT.encode(Point3D(1))


def test_a_part_that_cannot_be_stored_is_named():
    """A field that cannot be stored is refused with the path to it, and a class's own error too."""
    register(Point, name="Point")
    register(Right, name="Right")
    point = Point(1, tags={"a"})
    point.tags = {"a": object()}  # type: ignore[assignment]
    with pytest.raises(ValueEncodingError, match=r"value\[0\]\['tags'\]\['a'\] is of type object"):
        TEXT.encode([point])
    register(Mode, name="Mode")
    with pytest.raises(
        ValueEncodingError, match=r"value\['a'\] cannot be stored as a Mode: .*encode= and decode="
    ):
        TEXT.encode({"a": Mode(1)})


def test_an_object_takes_a_level_of_depth():
    """Registered objects nest as deep as other values, tags counted."""

    @dataclass
    class Node:
        child: Any

    register(Node, name="Node")
    for codec in (TEXT, TREE):
        chain: Any = None
        for _ in range(16):
            chain = Node(chain)
        assert codec.decode(*codec.encode(chain)) == chain
        with pytest.raises(ValueEncodingError, match="nests more than 32 deep"):
            codec.encode(Node(chain))
        chain.child = chain
        with pytest.raises(ValueEncodingError, match="or contains itself"):
            codec.encode(chain)
