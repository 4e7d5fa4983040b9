"""Field order of interlaced pictures, which PyAV does not tell."""

from __future__ import annotations

from typing import Any

import av.error
from av.filter import Graph

__all__ = ["is_top_field_first"]


def is_top_field_first(picture: Any) -> bool:
    """
    Tell whether an interlaced ``av.VideoFrame`` shows its top field first.

    FFmpeg's filter ``select`` knows, so the picture is passed through one; it is not copied.
    """
    graph = Graph()
    source = graph.add(
        "buffer",
        video_size=f"{picture.width}x{picture.height}",
        pix_fmt=picture.format.name,
        time_base="1/1",
    )
    select = graph.add("select", expr="eq(interlace_type,TOPFIRST)")
    sink = graph.add("buffersink")
    source.link_to(select)
    select.link_to(sink)
    graph.configure()
    source.push(picture)
    source.push(None)
    try:
        sink.pull()
    except (av.error.BlockingIOError, av.error.EOFError):
        return False
    return True
