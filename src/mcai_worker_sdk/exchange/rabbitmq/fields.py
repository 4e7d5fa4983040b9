"""
AMQP field tables and message properties, read without changing them.

pika turns what it reads into Python's types: a time stamp in milliseconds or an unknown type raises, and ends the link
that the message came over; a double becomes a whole number, so that a copy of the message is another message. Here a
table stays the bytes it came as. A value is decoded when somebody asks for it, and a copy carries the bytes on.
"""

from __future__ import annotations

import decimal
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import pika.data  # type: ignore[import-untyped]

__all__ = ["FieldTable", "MessageProperties"]

#: Deepest nesting that is decoded; nobody who counts attempts looks deeper than three levels.
MAX_DEPTH = 8

#: How the values of fixed length are packed, by their type. A time stamp is a number of seconds, whatever its sender
#: took it for. ``L``, ``U`` and ``l``, ``s`` are the names of the specification and of RabbitMQ for the same types.
_FORMATS: Mapping[bytes, struct.Struct] = {
    kind.encode(): struct.Struct(form)
    for kind, form in {
        "t": ">?",
        "b": ">b",
        "B": ">B",
        "s": ">h",
        "U": ">h",
        "u": ">H",
        "I": ">i",
        "i": ">I",
        "l": ">q",
        "L": ">q",
        "f": ">f",
        "d": ">d",
        "D": ">Bi",
        "T": ">Q",
        "V": ">",
    }.items()
}
#: Types whose value begins with its length: text, bytes, array, table.
_SIZED = frozenset({b"S", b"x", b"A", b"F"})
_LENGTH = struct.Struct(">I")


class FieldTable(Mapping[str, Any]):
    """
    A field table: names and decoded values.

    It never raises for what it holds. From the first entry whose end cannot be told on, nothing is read: the type is
    unknown, or its length goes beyond the table. What is nested too deep is ``None``. Of two entries of one name the
    first counts, as for RabbitMQ.
    """

    def __init__(self, data: bytes = b"") -> None:
        """
        Args:
            data: The table's entries, without the table's length.
        """
        self._fields: dict[str, bytes] = {}
        for name, field in _entries(data):
            self._fields.setdefault(name, field)

    def __getitem__(self, name: str) -> Any:
        return _decode(self._fields[name], MAX_DEPTH)

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def changed(self, values: Mapping[str, Any]) -> bytes:
        """
        The table's entries with some of them replaced; all others are the bytes they came as.

        Args:
            values: New values, by name; ``None`` leaves an entry out.
        """
        fields = {name: field for name, field in self._fields.items() if name not in values}
        fields |= {name: _encode(value) for name, value in values.items() if value is not None}
        return b"".join(_name_bytes(name) + field for name, field in fields.items())


class MessageProperties:
    """
    The properties of a message that came, as their bytes.

    pika takes it for its own ``BasicProperties`` in both directions.
    """

    INDEX = 0x003C
    """AMQP's number of the class ``basic``; pika asks for it."""

    _HEADERS = 1 << 13
    _DELIVERY_MODE = 1 << 12
    _EXPIRATION = 1 << 8
    _USER_ID = 1 << 4
    _CLUSTER_ID = 1 << 2
    #: The flag of each property, in the order on the wire: short strings but for the four named above and beside it.
    _FLAGS = tuple(1 << bit for bit in range(15, 1, -1))
    _LENGTHS: Mapping[int, int] = {_DELIVERY_MODE: 1, 1 << 11: 1, 1 << 6: 8}

    def __init__(self, data: bytes) -> None:
        """
        Args:
            data: Flags and properties, as in a content header. What cannot be read is left out.
        """
        self.data = data
        """As they came."""
        self._values: dict[int, bytes] = {}
        flags = int.from_bytes(data[:2])
        offset = 2
        for flag in self._FLAGS:
            if not flags & flag:
                continue
            end = self._end_of(flag, offset)
            if end > len(data):
                return
            self._values[flag] = data[offset:end]
            offset = end

    @property
    def headers(self) -> FieldTable:
        """The application headers."""
        return FieldTable(self._values.get(self._HEADERS, b"")[_LENGTH.size :])

    def copy(self, *, delivery_mode: int, headers: Mapping[str, Any]) -> MessageProperties:
        """
        Properties for a copy of the message, on its way through the delay queue.

        Its expiration would count there, and no user may publish under the name of another: neither is copied.

        Args:
            delivery_mode: For a message that has none.
            headers: Headers to replace; ``None`` leaves one out.
        """
        left_out = (self._EXPIRATION, self._USER_ID, self._CLUSTER_ID)
        values = {flag: value for flag, value in self._values.items() if flag not in left_out}
        values.setdefault(self._DELIVERY_MODE, bytes([delivery_mode]))
        table = self.headers.changed(headers)
        values[self._HEADERS] = _LENGTH.pack(len(table)) + table
        in_order = b"".join(values[flag] for flag in self._FLAGS if flag in values)
        return MessageProperties(sum(values).to_bytes(2) + in_order)

    def encode(self) -> list[bytes]:
        """The bytes, in the form pika asks for."""
        return [self.data]

    def _end_of(self, flag: int, offset: int) -> int:
        if flag == self._HEADERS:
            return offset + _LENGTH.size + int.from_bytes(self.data[offset : offset + _LENGTH.size])
        if flag in self._LENGTHS:
            return offset + self._LENGTHS[flag]
        return offset + 1 + int.from_bytes(self.data[offset : offset + 1])


def _name_bytes(name: str) -> bytes:
    encoded = name.encode(errors="surrogateescape")
    return bytes([len(encoded)]) + encoded


def _entries(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and field (type and value) of each entry, up to the first whose end cannot be told."""
    offset = 0
    while offset < len(data):
        name_end = offset + 1 + data[offset]
        end = _end_of_field(data, name_end)
        if end is None:
            return
        # A name that is no UTF-8 keeps its bytes.
        yield data[offset + 1 : name_end].decode(errors="surrogateescape"), data[name_end:end]
        offset = end


def _items(data: bytes) -> Iterator[bytes]:
    """Each field of an array, up to the first whose end cannot be told."""
    offset = 0
    while offset < len(data):
        end = _end_of_field(data, offset)
        if end is None:
            return
        yield data[offset:end]
        offset = end


def _end_of_field(data: bytes, offset: int) -> int | None:
    kind = data[offset : offset + 1]
    start = offset + 1
    if kind in _FORMATS:
        end = start + _FORMATS[kind].size
    elif kind in _SIZED:
        end = start + _LENGTH.size + int.from_bytes(data[start : start + _LENGTH.size])
    else:
        return None
    return end if end <= len(data) else None


def _decode(field: bytes, depth: int) -> Any:
    kind, value = field[:1], field[1:]
    if kind in _FORMATS:
        numbers = _FORMATS[kind].unpack(value)
        if kind == b"D":
            scale, number = numbers
            return decimal.Decimal(number).scaleb(-scale)
        return numbers[0] if numbers else None
    content = value[_LENGTH.size :]
    if kind == b"S":
        return content.decode(errors="replace")
    if kind == b"x":
        return content
    if depth == 0:
        return None
    if kind == b"A":
        return [_decode(item, depth - 1) for item in _items(content)]
    table: dict[str, Any] = {}
    for name, inner in _entries(content):
        table.setdefault(name, _decode(inner, depth - 1))
    return table


def _encode(value: Any) -> bytes:
    pieces: list[bytes] = []
    pika.data.encode_value(pieces, value)
    return b"".join(pieces)
