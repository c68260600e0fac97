"""Strategies for what others may write where lpcm keeps entries: items, rows, bytes, lines.

Knows the layouts of docs, and DynamoDB's, SQLite's and JSON's types; never lpcm's code. The
same strategies serve the tests here and longer runs.
"""

import json

from hypothesis import strategies as st

__all__ = ["attributes", "cache_items", "cells", "items", "lines", "only_items", "rows"]

NUMBERS = st.sampled_from(
    ["0", "1", "-1", "1.5", "1E+125", "-1E-130", "9" * 38, "1700000000000", "1E+30", "99999999999"]
)
TAGS = st.sampled_from(
    ["!tuple", "!set", "!frozenset", "!dict", "!int", "!float", "!decimal", "!bytes", "!date",
     "!time", "!datetime", "!timedelta", "!uuid", "!@X/1", "!@X/y", "!?", "!", "!!a", "a", "!key"]
)  # fmt: skip
TEXTS = st.sampled_from(
    ["", "x", "json", "int", "float", "decimal", "!damaged", "{", "[1", '{"!set":[[1]]}', "nan",
     "1.5", "1e999", '{"!int":1}', "null", "[[[[1]]]]", '{"!timedelta":1.5}', '"\\ud800"', "é\x00"]
) | st.text(st.characters(exclude_categories=["Cs"]), max_size=5)  # fmt: skip


def _grown(children):
    return st.one_of(
        st.lists(children, max_size=3).map(lambda them: {"L": them}),
        st.dictionaries(TAGS, children, max_size=2).map(lambda them: {"M": them}),
    )


attributes = st.recursive(
    st.one_of(
        NUMBERS.map(lambda number: {"N": number}),
        TEXTS.map(lambda text: {"S": text}),
        st.booleans().map(lambda it: {"BOOL": it}),
        st.just({"NULL": True}),
        st.sampled_from(
            [{"B": "AP8="}, {"SS": ["a", "b"]}, {"NS": ["1", "2.5"]}, {"BS": ["AA=="]}]
        ),
    ),
    _grown,
    max_leaves=6,
)
"""Attribute values of DynamoDB."""

items = st.fixed_dictionaries(
    {},
    optional={
        "v": attributes,
        "t": TEXTS.map(lambda text: {"S": text}) | attributes,
        "x": NUMBERS.map(lambda number: {"N": number}) | attributes,
        "etag": NUMBERS.map(lambda number: {"N": number}) | attributes,
        "other": attributes,
    },
)
"""Items of DynamoDB but for their keys."""

cells = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    TEXTS,
    st.binary(max_size=5),
    st.just(b"\xff").map(lambda raw: ("text", raw)),
)
"""What a column of SQLite may hold; ("text", bytes) is text that is no UTF-8."""

rows = st.fixed_dictionaries(
    {"v": cells, "t": cells, "x": cells, "etag": cells.filter(lambda cell: cell is not None)}
)
"""Rows of SQLite but for their keys."""

json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        TEXTS,
        st.just(10**400),
        st.just("\ud800"),
    ),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(TAGS, children, max_size=2),
    max_leaves=6,
)

_PAYLOADS = st.one_of(
    st.binary(max_size=30),
    json_values.map(lambda value: json.dumps(value).encode()),
    TEXTS.map(lambda text: text.encode(errors="replace")),
)
cache_items = st.tuples(
    st.one_of(
        st.binary(max_size=30),
        st.tuples(
            st.sampled_from(b"sjiIfFDbtA#?"), st.binary(min_size=16, max_size=16), _PAYLOADS
        ).map(lambda parts: bytes([parts[0]]) + parts[1] + parts[2]),
        st.tuples(st.sampled_from(b"sjiIfFDbt"), _PAYLOADS).map(
            lambda parts: bytes([parts[0]]) + b"\x07" + b"\0" * 13 + b"\xf8\x7f" + parts[1]
        ),
    ),
    st.sampled_from([None, 0, 1, 17, 2**31 - 1]),
)
"""Bytes of memcached, and their client flags; None: their length."""

only_items = st.one_of(
    st.binary(max_size=30),
    st.tuples(
        st.lists(json_values, max_size=5)
        | st.tuples(
            st.sampled_from(["NAME", "other"]),
            st.sampled_from(["s", "b", "i", "f", "?"]) | json_values,
            st.sampled_from([None, "json", "int"]) | json_values,
            st.just(5) | json_values,
            st.sampled_from([None, 4e9, float("inf"), float("nan")]) | json_values,
        ),
        _PAYLOADS,
    ).map(lambda parts: json.dumps(parts[0]).encode() + b"\n" + parts[1]),
)
"""Bytes of memcached where a map lives there alone; NAME stands for the entry's own name."""

lines = st.one_of(
    st.text(max_size=20),
    st.fixed_dictionaries(
        {"key": json_values, "value": json_values},
        optional={"map": json_values, "expires": json_values, "more": json_values},
    ).map(json.dumps),
    st.sampled_from(
        ["[" * 5000, '{"key":1e999999,"value":1}', '{"key":NaN,"value":1}', "\ufeff{}", "\udcff",
         '{"key":1,"value":' + "[" * 600 + "]" * 600 + "}", '{"key":1,"value":1,"expires":1e300}',
         '{"key":1,"value":1,"expires":NaN}', '{"key":1,"value":1,"expires":1' + "0" * 400 + "}"]
    ),
)  # fmt: skip
"""Lines of a file to import."""
