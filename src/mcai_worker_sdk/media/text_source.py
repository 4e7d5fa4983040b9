"""Subtitle documents FFmpeg has no reader for: TTML files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from mcai_worker_sdk.media.ebu_tt import parse_ebu_tt
from mcai_worker_sdk.media.format_context import FormatContext, StreamDescriptor
from mcai_worker_sdk.media.results import is_xml_document
from mcai_worker_sdk.media.urls import is_network_url, local_path

__all__ = ["DocumentSource", "open_document_source"]

_TIME_BASE = Fraction(1, 1000)
#: Subtitle documents are smaller than this by far; a larger file is none.
_MAX_BYTES = 64 * 2**20
_HEAD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class _DocumentPacket:
    data: bytes
    pts: int | None = 0
    dts: int | None = 0
    duration: int | None = None
    stream_index: int = 0
    is_corrupt: bool = False

    @property
    def size(self) -> int:
        return len(self.data)

    def __bytes__(self) -> bytes:
        return self.data


@dataclass(frozen=True, slots=True)
class _DocumentStream:
    index: int = 0
    type: str = "subtitle"
    time_base: Fraction = _TIME_BASE
    codec_context: None = None
    duration: None = None
    start_time: int = 0
    frames: int = 1
    metadata: dict[str, str] = field(default_factory=dict)


class _DocumentContainer:
    """One document, read the way a PyAV container is read."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.streams = (_DocumentStream(),)

    def demux(self, streams: Sequence[Any]) -> Iterator[_DocumentPacket]:
        if streams:
            yield _DocumentPacket(self._data)


class DocumentSource:
    """A TTML file: one subtitle stream of one packet."""

    def __init__(self, data: bytes) -> None:
        self._container = _DocumentContainer(data)
        self._context = FormatContext(
            format_name="ttml",
            format_long_name="TTML subtitle",
            streams=(
                StreamDescriptor(
                    index=0,
                    kind="AVMEDIA_TYPE_SUBTITLE",
                    nb_frames=1,
                    codec_name="ttml",
                    time_base=_TIME_BASE,
                    start_time=0.0,
                ),
            ),
        )

    @property
    def container(self) -> Any:
        """What packets are read from."""
        return self._container

    @property
    def context(self) -> FormatContext:
        """What ``init_process`` is told."""
        return self._context

    @property
    def is_live(self) -> bool:
        """False: the source ends by itself."""
        return False

    def interrupt(self) -> None:
        """Nothing: the document is in memory."""

    def close(self) -> None:
        """Nothing: the document is in memory."""


def open_document_source(url: str) -> DocumentSource | None:
    """
    The source of a local TTML file; ``None`` when the address is something else.

    Raises:
        MediaSourceError: The file begins like TTML and cannot be read.
    """
    if is_network_url(url):
        return None
    path = Path(local_path(url))
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            if not is_xml_document(head) or b"tt" not in head or path.stat().st_size > _MAX_BYTES:
                return None
            data = head + file.read()
    except OSError:
        return None
    parse_ebu_tt(data)
    return DocumentSource(data)
