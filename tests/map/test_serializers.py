"""Which serializers take a live value: the table in the documentation, cell by cell."""

import json
import pickle
import warnings
from copy import deepcopy
from decimal import Decimal
from pathlib import Path

import msgpack
import msgspec
import numpy as np
import orjson
import pydantic
import pytest
import yaml

from lpcm import LPCM, Engine

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "live-values.md"
VALUES = {
    "int": 3,
    "float": 0.5,
    "Decimal": Decimal("1.5"),
    "list": [1, 0.5],
    "dict": {"a": 1, "b": {"c": [0.5]}},
    "set": {1},
}


def validated(value):
    """Return what models make of a value, strict and not: the field, Python and JSON."""
    kind = next(base for base in type(value).__mro__ if base in map(type, VALUES.values()))
    made = []
    for strict in (False, True):
        config = pydantic.ConfigDict(strict=strict)
        model = pydantic.create_model("Model", __config__=config, x=(kind, ...))(x=value)
        made.append((type(model.x), model.x, model.model_dump(), model.model_dump_json()))
    return made


def array(value):
    made = np.asarray([value])
    return made.dtype, made.shape, made.tolist()


def pickled(value):
    return type(value), value


DUMPS = {
    "json": json.dumps,
    "orjson": orjson.dumps,
    "msgpack": msgpack.packb,
    "msgspec, JSON": msgspec.json.encode,
    "msgspec, msgpack": msgspec.msgpack.encode,
    "yaml.safe_dump": yaml.safe_dump,
    "pydantic": validated,
    "numpy": array,
    "pickle": lambda value: pickled(pickle.loads(pickle.dumps(value))),
}


def table():
    """Return the table of the documentation, {serializer: {type: what it says}}."""
    _, _, below = PAGE.read_text(encoding="utf-8").partition("### Serializers")
    _, first, rest = below.partition("| serializer |")
    text, _, _ = (first + rest).partition("\n\n")
    head, _, *body = [
        [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        for line in text.splitlines()
    ]
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in body}


def verdict(dump, live, plain):
    """Return ``live``, ``plain`` or ``no``: the most demanding of the values it takes."""

    def outcome(value):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                return dump(value)
        except Exception as error:  # noqa: BLE001  # each serializer has its own
            return type(error)

    wanted = outcome(plain)
    if isinstance(wanted, type) and issubclass(wanted, Exception):
        assert isinstance(outcome(live), type), "a live value is taken where a plain one is not"
        return "no"
    return "live" if outcome(live) == wanted else "plain"


def judged(dump):
    """Return what a serializer takes of each type."""
    engine = Engine.open("memory://")
    m = LPCM("m", using=engine)
    found = {}
    for name, value in VALUES.items():
        m["k"] = value
        live, plain = m["k"], deepcopy(m["k"])
        assert type(live) is not type(plain) is type(value)
        found[name] = verdict(dump, live, plain)
    engine.close()
    return found


@pytest.mark.parametrize("name", DUMPS)
def test_the_table(name):
    """Each serializer takes of live values what the documentation says, and no more."""
    assert judged(DUMPS[name]) == table()[name]


def test_the_table_has_no_other_rows():
    """Nothing stands in the table that no test holds it to."""
    assert table().keys() == {*DUMPS, "Django's ORM"}
