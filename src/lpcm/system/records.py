"""NamedTuple, made in half of the time: ``typing``'s compiles the text of each annotation.

``import lpcm`` makes some thirty such classes, which took a tenth of its time; modules that come
later use ``typing``'s. A type checker sees ``typing.NamedTuple``. At run time the classes are those
of ``collections.namedtuple``, with annotations left as text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["NamedTuple"]

if TYPE_CHECKING:
    from typing import NamedTuple
else:
    from collections import namedtuple

    class _NamedTupleMeta(type):
        def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, object]) -> type:
            if not bases:
                return super().__new__(cls, name, bases, namespace)
            fields = namespace.get("__annotations__", {})
            defaults = [namespace[field] for field in fields if field in namespace]
            made = namedtuple(name, fields, defaults=defaults, module=namespace["__module__"])  # noqa: PYI024  # what typing's makes
            for key, value in namespace.items():
                if key not in fields:
                    setattr(made, key, value)
            return made

    class NamedTuple(metaclass=_NamedTupleMeta):
        """The base of classes of named fields."""
