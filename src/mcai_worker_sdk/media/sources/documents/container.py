"""Whole documents, read the way PyAV's containers are read: one stream, each of its packets one document."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

__all__ = ["TIME_BASE", "DocumentContainer", "DocumentPacket"]

#: Unit of the documents' time stamps: milliseconds.
TIME_BASE = Fraction(1, 1000)


@dataclass(frozen=True, slots=True)
class DocumentPacket:
    """One document, with what the pipeline asks of a packet."""

    data: bytes
    """The document; never empty."""
    pts: int = 0
    """When it came, in units of :data:`TIME_BASE`."""
    duration: None = None
    """How long it is valid, only the document itself says."""
    stream_index: int = 0
    """The only stream."""
    is_corrupt: bool = False
    """It is here whole, or not at all."""

    @property
    def size(self) -> int:
        """Length in bytes."""
        return len(self.data)

    def __bytes__(self) -> bytes:
        return self.data


@dataclass(frozen=True, slots=True)
class _DocumentStream:
    type: Literal["data", "subtitle"]
    index: int = 0
    time_base: Fraction = TIME_BASE
    codec_context: None = None


class DocumentContainer:
    """
    The documents of a source.

    Args:
        kind: Type of the stream.
        packets: The documents; taken one by one as they are asked for.
    """

    def __init__(self, kind: Literal["data", "subtitle"], packets: Iterable[DocumentPacket]) -> None:
        self._packets = packets
        self.streams = (_DocumentStream(kind),)

    def demux(self, streams: Sequence[Any] | None = None) -> Iterator[DocumentPacket]:  # noqa: ARG002 - there is one
        """The documents, whichever streams are asked for."""
        yield from self._packets

    def close(self) -> None:
        """Nothing: what the documents come from is closed by whoever opened it."""
