"""Subtitle documents FFmpeg has no reader for: TTML files."""

from __future__ import annotations

import os
from pathlib import Path

from mcai_worker_sdk.addresses import local_path
from mcai_worker_sdk.media.model.format_context import FormatContext, StreamDescriptor
from mcai_worker_sdk.media.sources.documents.container import TIME_BASE, DocumentContainer, DocumentPacket
from mcai_worker_sdk.media.sources.source import MediaSource
from mcai_worker_sdk.media.text.xml_roots import HEAD_BYTES, is_ttml

__all__ = ["open_document_source"]

#: Subtitle documents are smaller than this by far; a larger file is none.
_MAX_BYTES = 64 * 2**20


def open_document_source(url: str) -> MediaSource | None:
    """
    The source of a local TTML file, one subtitle stream of one packet; ``None`` when the address is something else.

    Raises:
        MediaSourceError: The file begins like TTML and cannot be read.
    """
    name = local_path(url)
    if name is None or not os.path.isfile(name):  # noqa: PTH113 - a name may hold what Path refuses
        # A pipe can be read once only, and that is FFmpeg's.
        return None
    path = Path(name)
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            if not is_ttml(head) or path.stat().st_size > _MAX_BYTES:
                return None
            data = head + file.read()
    except OSError:
        return None
    from mcai_worker_sdk.media.ebu_tt import parse_ebu_tt

    parse_ebu_tt(data)
    stream = StreamDescriptor(
        index=0, kind="AVMEDIA_TYPE_SUBTITLE", nb_frames=1, codec_name="ttml", time_base=TIME_BASE, start_time=0.0
    )
    context = FormatContext(format_name="ttml", format_long_name="TTML subtitle", streams=(stream,))
    return MediaSource(DocumentContainer("subtitle", [DocumentPacket(data)]), context)
