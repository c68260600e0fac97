"""What live changes send to DynamoDB: one UpdateItem and no read, at depths 1 to 3."""

import pytest

from lpcm import LPCM, Engine
from lpcm.events import subscribe

BOX = {"n": 1, "l": [1, 2], "s": {1, 2}, "w": {"a", "b"}, "d": {"a": 1, "b": 2}}
CHANGES = {
    "int add": lambda box: box["n"].increment(),
    "+=": lambda box: box.__setitem__("n", box["n"].__iadd__(5)),
    "append": lambda box: box["l"].append(3),
    "extend": lambda box: box["l"].extend([3, "x", {"y": []}]),
    "list set": lambda box: box["l"].__setitem__(0, "x"),
    "list del": lambda box: box["l"].__delitem__(0),
    "set add": lambda box: box["s"].add(3),
    "set update": lambda box: box["w"].update({"c", "d"}),
    "set discard": lambda box: box["s"].discard(1),
    "set remove": lambda box: box["w"].remove("a"),
    "dict set": lambda box: box["d"].__setitem__("c", [1]),
    "dict update": lambda box: box["d"].update(a=5, e=6),
    "dict setdefault": lambda box: box["d"].setdefault("z", []),
    "dict del": lambda box: box["d"].__delitem__("a"),
}


@pytest.fixture(params=["dynoxide", "extenddb"])
def m(request):
    """Return a map."""
    table = request.getfixturevalue(f"{request.param}_table")
    engine = Engine.open(table.url)
    made = LPCM("live", using=engine)
    made["entered"] = True
    yield made
    engine.close()


@pytest.mark.parametrize("wrap", [lambda b: b, lambda b: {"x": b}, lambda b: {"x": [0, b]}])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_one_update_item(m, change, wrap):
    """A change to a part is one request, its condition in it."""
    m["k"] = wrap(BOX)
    box = m["k"]
    box = box.get("x", box)
    box = box[1] if isinstance(box, list) else box
    sent = []
    with subscribe(sent.append):
        change(box)
    assert [event.operation for event in sent] == ["UpdateItem"]


@pytest.mark.parametrize(
    ("value", "change"),
    [
        (1, lambda m: m["k"].increment()),
        ([1], lambda m: m["k"].append(1)),
        ({1}, lambda m: m["k"].add(2)),
        ({"a": 1, "b": 1}, lambda m: m["k"].__setitem__("c", 1)),
        ({"a": 1}, lambda m: m["k"].__delitem__("a")),
    ],
)
def test_a_whole_value(m, value, change):
    """A change to the whole value reads it, for it was asked for, and sends one UpdateItem."""
    m["k"] = value
    sent = []
    with subscribe(sent.append):
        change(m)
    assert [event.operation for event in sent] == ["GetItem", "UpdateItem"]
