"""Field tables and properties: read without a fault whatever they hold, and carried on byte by byte."""

from __future__ import annotations

import decimal
import math
import string
import struct
from datetime import UTC, datetime
from typing import Any

import pika
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pamqp import encode as pamqp_encode

from mcai_worker_sdk.exchange.rabbitmq.fields import MAX_DEPTH, FieldTable, MessageProperties

pack = struct.pack


def sized(kind: bytes, content: bytes) -> bytes:
    return pack(">cI", kind, len(content)) + content


def entry(name: str, field: bytes) -> bytes:
    return bytes([len(name.encode())]) + name.encode() + field


def with_headers(table: bytes) -> bytes:
    """Properties that hold headers only."""
    return pack(">HI", 1 << 13, len(table)) + table


#: One of each type: as it is on the wire, and as it is read.
FIELDS: dict[str, tuple[bytes, Any]] = {
    "true": (b"t\x01", True),
    "int8": (b"b\xff", -1),
    "uint8": (b"B\xff", 255),
    "int16": (pack(">ch", b"s", -2), -2),
    "int16 of the specification": (pack(">ch", b"U", -2), -2),
    "uint16": (pack(">cH", b"u", 65535), 65535),
    "int32": (pack(">ci", b"I", -5), -5),
    "uint32": (pack(">cI", b"i", 2**32 - 1), 2**32 - 1),
    "int64": (pack(">cq", b"l", -(2**63)), -(2**63)),
    "int64 of the specification": (pack(">cq", b"L", -(2**63)), -(2**63)),
    "float": (pack(">cf", b"f", 1.5), 1.5),
    "double": (pack(">cd", b"d", 1e300), 1e300),
    "infinity": (pack(">cd", b"d", math.inf), math.inf),
    "decimal": (pack(">cBi", b"D", 2, -314), decimal.Decimal("-3.14")),
    "decimal of 255 places": (pack(">cBi", b"D", 255, 1), decimal.Decimal("1e-255")),
    "seconds": (pack(">cQ", b"T", 1_700_000_000), 1_700_000_000),
    "milliseconds": (pack(">cQ", b"T", 1_700_000_000_000), 1_700_000_000_000),
    "before 1970": (pack(">cq", b"T", -1), 2**64 - 1),
    "void": (b"V", None),
    "text": (sized(b"S", "é☃".encode()), "é☃"),
    "text that is no UTF-8": (sized(b"S", b"\xff"), "\ufffd"),
    "bytes": (sized(b"x", b"\xff\x00"), b"\xff\x00"),
    "array": (sized(b"A", b"V" + pack(">ci", b"I", 1) + sized(b"A", b"")), [None, 1, []]),
    "table": (sized(b"F", entry("a", b"V") + entry("b", sized(b"F", b""))), {"a": None, "b": {}}),
}
UNKNOWN = b"Zabc"


@pytest.mark.parametrize(("field", "value"), FIELDS.values(), ids=FIELDS)
def test_every_type_is_read_and_carried_on_as_it_came(field: bytes, value: Any):
    table = entry("before", b"t\x01") + entry("h", field) + entry("after", b"V")
    properties = MessageProperties(with_headers(table))

    assert dict(properties.headers) == {"before": True, "h": value, "after": None}
    copy = properties.copy(delivery_mode=2, headers={"ours": 1})
    assert copy.data == pack(">HI", 1 << 13 | 1 << 12, len(table) + 10) + table + entry("ours", b"I\0\0\0\1") + b"\x02"


JSON_LIKE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text()
    | st.binary()
    | st.datetimes(datetime(1970, 1, 1), datetime(9999, 1, 1)).map(lambda time: time.replace(microsecond=0, tzinfo=UTC))  # noqa: DTZ001 - hypothesis wants them so
    | st.decimals(-(10**6), 10**6, places=2),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(string.ascii_letters, max_size=20), inner),
    max_leaves=12,
)
TABLES = st.dictionaries(st.text(string.ascii_letters + "é☃", min_size=1, max_size=40), JSON_LIKE)


def as_read(value: Any) -> Any:
    """A value that a library encoded, as it is read here: a time is its number of seconds."""
    match value:
        case datetime():
            return int(value.timestamp())
        case dict():
            return {name: as_read(inner) for name, inner in value.items()}
        case list():
            return [as_read(inner) for inner in value]
    return value


def for_pamqp(value: Any) -> Any:
    """pamqp writes byte arrays for bytearrays only."""
    match value:
        case bytes():
            return bytearray(value)
        case dict():
            return {name: for_pamqp(inner) for name, inner in value.items()}
        case list():
            return [for_pamqp(inner) for inner in value]
    return value


@settings(deadline=None)
@given(TABLES)
def test_what_pika_writes_is_read(table: dict[str, Any]):
    pieces: list[bytes] = []
    pika.data.encode_table(pieces, table)

    assert dict(FieldTable(b"".join(pieces)[4:])) == as_read(table)


@settings(deadline=None)
@given(TABLES, st.floats(allow_nan=False, width=32))
def test_what_pamqp_writes_is_read(table: dict[str, Any], number: float):
    assert dict(FieldTable(pamqp_encode.field_table(for_pamqp({**table, "f": number}))[4:])) == as_read(
        {**table, "f": number}
    )


@settings(deadline=None)
@given(TABLES, TABLES)
def test_a_changed_table_is_what_pika_reads(table: dict[str, Any], changes: dict[str, Any]):
    pieces: list[bytes] = []
    pika.data.encode_table(pieces, table)
    changed = FieldTable(b"".join(pieces)[4:]).changed(changes)
    kept = {name: value for name, value in {**table, **changes}.items() if changes.get(name, value) is not None}
    kept |= {name: None for name, value in table.items() if value is None and name not in changes}

    assert dict(FieldTable(changed)) == as_read(kept)
    read, end = pika.data.decode_table(pack(">I", len(changed)) + changed, 0)
    assert (read.keys(), end) == (kept.keys(), 4 + len(changed))


@settings(deadline=None)
@given(st.binary(max_size=200))
@example(b"\x01a" + UNKNOWN)
@example(b"\xffa")
def test_no_bytes_break_a_table_and_a_changed_one_is_whole(data: bytes):
    table = FieldTable(data)
    dict(table)
    changed = FieldTable(table.changed({"ours": [{"count": 1}]}))

    assert changed["ours"] == [{"count": 1}]
    assert list(changed) == [*(name for name in table if name != "ours"), "ours"]


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_break_properties_and_a_copy_is_whole(data: bytes):
    copy = MessageProperties(data).copy(delivery_mode=2, headers={"ours": 1})

    # Read by others, as the broker will.
    assert MessageProperties(copy.data).headers["ours"] == 1
    assert copy.encode() == [copy.data]


@pytest.mark.parametrize(
    "bad",
    [
        UNKNOWN,
        sized(b"S", b"abc")[:-1],
        pack(">cI", b"F", 2**32 - 1) + b"abc",
        pack(">cI", b"A", 100),
        b"d\0\0",
        b"",
    ],
    ids=["unknown type", "short text", "endless table", "endless array", "short number", "nothing"],
)
def test_an_entry_whose_end_cannot_be_told_ends_the_reading_and_no_more(bad: bytes):
    table = FieldTable(entry("a", b"t\x01") + entry("bad", bad))
    assert dict(table) == {"a": True}
    assert table.changed({"b": 2}) == entry("a", b"t\x01") + entry("b", b"I\0\0\0\2")

    nested = FieldTable(entry("outer", sized(b"F", entry("a", b"V") + entry("bad", bad))) + entry("z", b"t\x01"))
    assert dict(nested) == {"outer": {"a": None}, "z": True}


@pytest.mark.parametrize("kind", [b"A", b"F"])
def test_nesting_is_bounded_when_it_is_read_and_untouched_when_it_is_carried_on(kind: bytes):
    field = b"V"
    for _ in range(20_000):
        field = sized(kind, field if kind == b"A" else entry("", field))
    table = FieldTable(entry("deep", field) + entry("z", b"t\x01"))

    value, depth = table["deep"], 0
    while value:
        value = value[0] if kind == b"A" else value[""]
        depth += 1
    assert (value, depth, table["z"]) == (None, MAX_DEPTH, True)
    assert table.changed({}) == entry("deep", field) + entry("z", b"t\x01")


def test_of_two_entries_of_one_name_the_first_counts_and_is_carried_on():
    data = entry("a", b"t\x01") + entry("a", b"t\x00")

    assert dict(FieldTable(data)) == {"a": True}
    assert FieldTable(data).changed({}) == entry("a", b"t\x01")


def test_a_name_that_is_no_utf8_keeps_its_bytes():
    data = b"\x01\xffV" + entry("a", b"t\x01")

    assert FieldTable(data).changed({"a": None}) == b"\x01\xffV"


def test_a_copy_keeps_every_property_but_those_that_hold_only_for_the_original():
    original = pika.BasicProperties(
        content_type="application/json",
        content_encoding="utf-8",
        headers={"a": "b", "x-death": [{"count": 1}]},
        delivery_mode=1,
        priority=9,
        correlation_id="c",
        reply_to="r",
        expiration="1000",
        message_id="m",
        timestamp=2**63,
        type="t",
        user_id="guest",
        app_id="app",
        cluster_id="cluster",
    )
    copy = MessageProperties(b"".join(original.encode())).copy(delivery_mode=2, headers={"x-death": None, "n": 1})

    original.headers = {"a": "b", "n": 1}
    original.expiration = original.user_id = original.cluster_id = None
    assert pika.BasicProperties().decode(copy.data) == original


def test_a_message_without_properties_has_no_headers():
    assert dict(MessageProperties(b"\0\0").headers) == {}
    assert dict(MessageProperties(b"").headers) == {}


@pytest.mark.parametrize("flags", [0x8000, 0x2000, 0x0040], ids=["text", "table", "number"])
def test_properties_that_are_cut_off_are_left_out(flags: int):
    copy = MessageProperties(pack(">H", flags) + b"\x05ab").copy(delivery_mode=2, headers={})

    assert pika.BasicProperties().decode(copy.data) == pika.BasicProperties(headers={}, delivery_mode=2)
