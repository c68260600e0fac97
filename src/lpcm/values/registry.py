"""Classes whose objects may be stored: Enums, dataclasses, pydantic models, and others.

A registration gives a class a stored name and version, and says how its objects become
plain values and come back. Entries hold the stored name, so it must stay when the class is
renamed. Registrations belong to the process and are made at import time, like classes. A stored
value's name never causes an import or a call.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum, Flag
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any, TypeVar, overload

from lpcm.errors import ConfigError, ValueDecodingError
from lpcm.system.records import NamedTuple
from lpcm.values.functions import is_async
from lpcm.values.numpy_number import numpy_number

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = ["Foreign", "Registered", "find", "foreign", "hint", "register", "revive"]

C = TypeVar("C", bound=type)


class Registered(NamedTuple):
    """How objects of one class are stored."""

    cls: type
    name: str
    version: int
    encode: Callable[[Any], object]
    decode: Callable[[Any], Any]
    upgrade: Callable[[Any, int], Any] | None


_by_class: dict[type, Registered] = {}
_by_name: dict[str, Registered] = {}
_DECLARED = ("__dataclass_fields__", "model_dump", "__attrs_attrs__", "__struct_fields__")


@overload
def register(cls: C, /) -> C: ...
@overload
def register(
    cls: C,
    /,
    *,
    name: str | None = ...,
    version: int = ...,
    encode: Callable[[Any], object] | None = ...,
    decode: Callable[[Any], Any] | None = ...,
    upgrade: Callable[[Any, int], Any] | None = ...,
) -> C: ...
@overload
def register(
    *,
    name: str | None = ...,
    version: int = ...,
    encode: Callable[[Any], object] | None = ...,
    decode: Callable[[Any], Any] | None = ...,
    upgrade: Callable[[Any, int], Any] | None = ...,
) -> Callable[[C], C]: ...
def register(
    cls: Any = None,
    /,
    *,
    name: str | None = None,
    version: int = 1,
    encode: Callable[[Any], object] | None = None,
    decode: Callable[[Any], Any] | None = None,
    upgrade: Callable[[Any, int], Any] | None = None,
) -> Any:
    """Let objects of a class be values; a decorator, or a call.

    An Enum is stored by its member's name (a combination of Flags by a list of them), a
    dataclass, NamedTuple, attrs class or msgspec Struct by its init fields, a pydantic
    model by ``model_dump``; any other class by ``encode``, which returns something
    storable, and ``decode``, which makes the object of it. ``name`` is what entries hold
    (the class's qualified name where none is given). Raise ``version`` when what is stored
    changes, and give ``upgrade(data, version)``, which turns what an older version stored
    into what ``decode`` takes now.

    **Raises** ConfigError for a class it cannot store, or a name already taken.

    >>> from dataclasses import dataclass
    >>> from lpcm import LPCM
    >>> def rename(data, version):
    ...     return {"x": data["left"], "y": data["top"]}
    >>> @register(name="doc.Point", version=2, upgrade=rename)
    ... @dataclass(frozen=True)
    ... class Point:
    ...     x: int
    ...     y: int
    >>> m = LPCM("points")
    >>> m["p"] = Point(1, 2)
    >>> m["p"]
    Point(x=1, y=2)
    >>> register(int)
    Traceback (most recent call last):
        ...
    lpcm.errors.ConfigError: cannot register int: give encode= and decode=, ...
    """
    if cls is None:

        def decorate(decorated: C) -> C:
            _add(decorated, name, version, encode, decode, upgrade)
            return decorated

        return decorate
    _add(cls, name, version, encode, decode, upgrade)
    return cls


def _add(  # noqa: PLR0917  # register's arguments, passed on
    cls: Any,
    name: str | None,
    version: int,
    encode: Callable[[Any], object] | None,
    decode: Callable[[Any], Any] | None,
    upgrade: Callable[[Any, int], Any] | None,
) -> None:
    if not isinstance(cls, type):  # as by @register("name")
        raise ConfigError(f"register takes a class, and its name as name=, not {cls!r}")
    if (encode is None) != (decode is None):
        raise ConfigError(f"cannot register {cls.__qualname__}: encode= and decode= go together")
    if encode is None or decode is None:
        encode, decode = _encoding_of(cls)
    if any(map(is_async, (encode, decode, upgrade))):
        raise ConfigError(f"cannot register {cls.__qualname__}: its functions must not be async")
    if type(version) is not int or version < 1:
        raise ConfigError(f"version must be an int from 1 on, not {version!r}")
    made = Registered(cls, name or cls.__qualname__, version, encode, decode, upgrade)
    taken = _by_name.get(made.name)
    if taken is not None and not _same_class(taken.cls, cls):
        raise ConfigError(
            f"the stored name {made.name!r} is taken by {taken.cls.__module__}."
            f"{taken.cls.__qualname__}: give this class another with name="
        )
    other = _by_class.get(cls)
    if other is not None and other.name != made.name:
        raise ConfigError(f"{cls.__qualname__} is registered already, as {other.name!r}")
    _by_name[made.name] = _by_class[cls] = made


def _same_class(one: type, two: type) -> bool:
    """Tell whether two classes are one, perhaps of a module loaded again."""
    return (one.__module__, one.__qualname__) == (two.__module__, two.__qualname__)


def _encoding_of(cls: Any) -> tuple[Callable[[Any], object], Callable[[Any], Any]]:
    if issubclass(cls, Enum):
        return _member_names if issubclass(cls, Flag) else _member_name, _members(cls)
    if hasattr(cls, "__dataclass_fields__"):
        fields = cls.__dataclass_fields__.values()
        if any(field._field_type.name == "_FIELD_INITVAR" for field in fields):  # noqa: SLF001  # see _is_init
            raise ConfigError(
                f"cannot register {cls.__qualname__}: give encode= and decode=, since its objects "
                "do not keep the InitVars they are made with"
            )
        return _fields(cls, {field.name: field.name for field in fields if _is_init(field)})
    if hasattr(cls, "__attrs_attrs__"):  # attrs before 22.2 knows no alias
        made_with = [field for field in cls.__attrs_attrs__ if field.init]
        aliases = [getattr(field, "alias", field.name.lstrip("_")) for field in made_with]
        return _fields(cls, dict(zip([field.name for field in made_with], aliases, strict=True)))
    for declared in ("__struct_fields__", "_fields"):  # of a msgspec Struct, of a NamedTuple
        names = getattr(cls, declared, None)
        if names is not None and (declared != "_fields" or issubclass(cls, tuple)):
            return _fields(cls, {name: name for name in names})
    if hasattr(cls, "model_dump") and hasattr(cls, "model_validate"):
        # By field names, not aliases. pydantic before 2.11 does not know these options.
        known = cls.model_validate.__kwdefaults__ or {}
        names_only = {"by_alias": False, "by_name": True} if "by_name" in known else {}
        return (
            lambda value: value.model_dump(by_alias=False, round_trip=True),
            lambda data: cls.model_validate(data, **names_only),
        )
    raise ConfigError(
        f"cannot register {cls.__qualname__}: give encode= and decode=, since it is no Enum, "
        "dataclass, NamedTuple, attrs class, msgspec Struct or pydantic model"
    )


def _is_init(field: Any) -> bool:
    # A ClassVar is among __dataclass_fields__ too; dataclasses.fields leaves it out.
    return bool(field.init and field._field_type.name == "_FIELD")  # noqa: SLF001  # the import costs 8 ms


def _fields(
    cls: Any, parameters: dict[str, str]
) -> tuple[Callable[[Any], object], Callable[[Any], Any]]:
    """Return encode and decode for a class whose objects are made of these fields."""

    def decode(data: Any) -> Any:
        arguments: dict[str, Any] = {}
        for name, part in data.items():
            arguments[parameters[name] if name in parameters else name] = part  # noqa: SIM401  # of str
        return cls(**arguments)

    return lambda value: {name: getattr(value, name) for name in parameters}, decode


def _member_name(member: Any) -> str:
    name: str = member.name
    return name


def _member_names(flag: Any) -> str | list[str]:
    """Return the name of a Flag, or the names of the members that it combines."""
    cls = type(flag)
    if flag.name is not None and flag.name in cls.__members__:
        return str(flag.name)
    names = [str(one.name) for one in flag]
    if _members(cls)(names) != flag:  # an IntFlag may have bits that no member has
        raise TypeError(
            f"{flag!r} has bits that are no members of {cls.__qualname__}, which "
            "encode= and decode= of lpcm.register could keep"
        )
    return names


def _members(cls: Any) -> Callable[[Any], Any]:
    """Return a function that makes a member of its name, or a Flag of several names."""
    return lambda names: (
        cls[names] if isinstance(names, str) else reduce(or_, [cls[name] for name in names], cls(0))
    )


def find(cls: type) -> Registered | None:
    """Return the registration of exactly this class; None where there is none."""
    return _by_class.get(cls)


def hint(value: object) -> str | None:
    """Return advice on a value of a class that is not registered; None where there is none."""
    cls = type(value)
    if hasattr(cls, "__await__"):
        return "await it, and store what that returns"
    if (
        isinstance(value, Enum)
        or any(hasattr(cls, name) for name in _DECLARED)
        or (isinstance(value, tuple) and hasattr(cls, "_fields"))
    ):
        return f"lpcm.register({cls.__qualname__}) first"
    way = f"lpcm.register({cls.__qualname__}, encode=..., decode=...) first"
    for plain in (dict, list, tuple, set, frozenset, str, bytes, int, float, bytearray):
        if isinstance(value, plain):
            target = "bytes" if plain is bytearray else plain.__name__
            if plain is str and type(str(value)) is not str:  # Django's returns itself
                target = "str.__str__"
            return f"its type would not come back; store {target}(...) of it, or {way}"
    number = numpy_number(value)
    if number is not None:
        return f"NumPy's types would not come back; store {type(number).__name__}(...) of it"
    return None


class Foreign:
    """A value of a registered class, as it is stored: see ``foreign``."""

    __slots__ = ("data", "name", "version")

    def __init__(self, name: str, version: int, data: object) -> None:
        self.name = name
        self.version = version
        self.data = data

    def __repr__(self) -> str:
        return f"<{self.name}/{self.version}: {self.data!r}>"


_foreign: ContextVar[bool] = ContextVar("lpcm_foreign", default=False)


@contextmanager
def foreign() -> Generator[None, None, None]:
    """Within the block, read values of registered classes as ``Foreign``, stored again unchanged.

    For code that passes values on without having their classes: exports, copies, pages.

    >>> from lpcm.values.codec import Codec, Form
    >>> codec = Codec(Form.TEXT)
    >>> with foreign():
    ...     value = codec.decode('[{"!@shop.Money/1":{"cents":5}}]', "json")
    >>> value, codec.encode(value).data
    ([<shop.Money/1: {'cents': 5}>], '[{"!@shop.Money/1":{"cents":5}}]')
    """
    token = _foreign.set(True)
    try:
        yield
    finally:
        _foreign.reset(token)


def revive(name: str, version: int, data: Any) -> Any:
    """Return the object that was stored under that name and version."""
    if _foreign.get():
        return Foreign(name, version, data)
    found = _by_name.get(name)
    if found is None:
        raise ValueDecodingError(
            f"a stored value is of class {name!r}, which this process has not given to "
            "lpcm.register: import the module that does"
        )
    if version > found.version:
        raise ValueDecodingError(
            f"a stored {name!r} has version {version}, this process knows {found.version}: "
            "upgrade the program"
        )
    if version < found.version and found.upgrade is None:
        raise ValueDecodingError(
            f"a stored {name!r} has version {version}, this process knows {found.version} "
            "and no upgrade= from older ones: give one to lpcm.register"
        )
    try:
        if version < found.version and found.upgrade is not None:
            data = found.upgrade(data, version)
        return found.decode(data)
    except Exception as error:  # a class may raise anything for data that do not fit
        raise ValueDecodingError(
            f"a stored {name!r} of version {version} does not fit the class: {error!r}"
        ) from error
