"""Reading a container's description into a :class:`FormatContext`."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
from av.container import InputContainer

from mcai_worker_sdk.media.model.format_context import FormatContext, StreamDescriptor
from mcai_worker_sdk.media.pyav import exact, plain_tags
from mcai_worker_sdk.media.sources.dump import DumpFacts, read_dump

__all__ = ["probe"]

#: What FFmpeg calls a codec it does not know.
_NO_CODEC = frozenset({"none", "unknown", "Unknown"})


def probe(container: InputContainer) -> FormatContext:
    """Describe an opened container and its streams."""
    facts = read_dump(container)
    return FormatContext(
        format_name=container.format.name,
        format_long_name=container.format.long_name,
        program_count=facts.program_count,
        start_time=_container_seconds(container.start_time),
        duration=_container_seconds(container.duration),
        bit_rate=container.bit_rate or None,
        metadata=dict(sorted(plain_tags(container.metadata).items())),
        streams=tuple(_describe(stream, facts) for stream in container.streams),
    )


def _describe(stream: Any, dump: DumpFacts) -> StreamDescriptor:
    codec = stream.codec_context
    facts: dict[str, Any] = {}
    if stream.type == "video" and codec is not None:
        facts = {
            "width": codec.width,
            "height": codec.height,
            "pix_fmt": None if codec.is_hwaccel else codec.pix_fmt,
        }
    elif stream.type == "audio" and codec is not None:
        facts = {
            "channels": codec.channels,
            "sample_rate": codec.sample_rate,
            "sample_fmt": codec.format.name if codec.format else None,
            "channel_layout": _layout_name(codec.layout),
        }
    if stream.type == "video":
        facts["avg_frame_rate"] = _rate(exact(stream.average_rate))
        facts["r_frame_rate"] = _rate(exact(stream.base_rate))
    codec_name = codec.codec.canonical_name if codec is not None else dump.codec_names.get(stream.index)
    metadata = plain_tags(stream.metadata)
    if stream.index in dump.rotations:
        # Under this name, and clockwise, existing workers know it from the metadata of older versions of FFmpeg.
        metadata.setdefault("rotate", str(dump.rotations[stream.index]))
    time_base = exact(stream.time_base)
    return StreamDescriptor(
        index=stream.index,
        kind=f"AVMEDIA_TYPE_{stream.type.upper()}",
        nb_frames=stream.frames,
        start_time=_stream_seconds(stream.start_time, time_base),
        duration=_stream_seconds(stream.duration, time_base),
        stream_metadata=metadata,
        time_base=time_base,
        codec_name=None if codec_name in _NO_CODEC else codec_name,
        language=metadata.get("language"),
        disposition=tuple(flag.name for flag in stream.disposition if flag.name),
        **facts,
    )


def _container_seconds(value: int | None) -> float | None:
    return None if value is None else value / av.time_base


def _stream_seconds(value: int | None, time_base: Fraction | None) -> float | None:
    return None if value is None or not time_base else float(value * time_base)


def _rate(rate: Fraction | None) -> float:
    return float("nan") if rate is None else float(rate)


def _layout_name(layout: Any) -> str | None:
    """The layout's name, or ``None`` when the container only counts channels."""
    name: str = layout.name
    return None if not name or name.endswith("channels") else name
