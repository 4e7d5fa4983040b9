"""What ``init_process`` is told about the source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

__all__ = ["FormatContext", "StreamDescriptor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamDescriptor:
    """One stream of the source, as its container describes it."""

    index: int
    """Index of the stream, from 0; what a descriptor names."""
    kind: str
    """``AVMEDIA_TYPE_VIDEO``, ``_AUDIO``, ``_SUBTITLE``, ``_DATA``, ``_ATTACHMENT`` or ``_UNKNOWN``."""
    nb_frames: int = 0
    """Number of frames the container declares (for uncompressed audio in MOV: of samples); 0 when it does not say."""
    avg_frame_rate: float = float("nan")
    """Average frames per second; ``nan`` when unknown, as for every audio, subtitle and data stream."""
    r_frame_rate: float = float("nan")
    """Lowest rate that represents every time stamp, in frames per second; ``nan`` when unknown."""
    width: int = 0
    """Width of the coded picture in pixels, 0 when it is no video."""
    height: int = 0
    """Height of the coded picture in pixels, 0 when it is no video."""
    channels: int = 0
    """Number of audio channels, 0 when it is no audio."""
    sample_rate: int = 0
    """Audio sample rate in Hz, 0 when it is no audio."""
    start_time: float | None = None
    """Presentation time of this stream's first frame in seconds, ``None`` when unknown."""
    duration: float | None = None
    """Duration of this stream in seconds, ``None`` when unknown."""
    stream_metadata: Mapping[str, str] = field(default_factory=dict)
    """The stream's own metadata (``language``, ``handler_name``, ...)."""
    time_base: Fraction | None = None
    """Unit of the stream's time stamps in seconds; that of ``Frame.pts`` unless a filter changes it."""
    codec_name: str | None = None
    """FFmpeg's name of the codec (``h264``), ``None`` when unknown."""
    pix_fmt: str | None = None
    """Name of the decoded pictures' pixel format, ``None`` when it is no video or unknown."""
    sample_fmt: str | None = None
    """Name of the decoded samples' format, ``None`` when it is no audio or unknown."""
    channel_layout: str | None = None
    """Name of the channel layout (``stereo``, ``5.1``), ``None`` when it is no audio or not declared."""
    language: str | None = None
    """Language tag of the metadata (``eng``), ``None`` when not declared."""
    disposition: tuple[str, ...] = ()
    """FFmpeg's names of the dispositions that are set (``default``, ``attached_pic``, ...)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatContext:
    """The source, as its container describes it."""

    format_name: str
    """FFmpeg's short name of the format; several, separated by commas, where one demuxer reads them all."""
    format_long_name: str
    """FFmpeg's descriptive name of the format."""
    program_count: int = 0
    """Number of programs (MPEG-TS), else 0."""
    start_time: float | None = None
    """Earliest presentation time of all streams in seconds, ``None`` when unknown."""
    duration: float | None = None
    """Duration in seconds, ``None`` when unknown, as for every live source."""
    bit_rate: int | None = None
    """Total bits per second, ``None`` when unknown."""
    packet_size: int = 0
    """Always 0; kept for existing workers."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """The container's metadata, sorted by key; a tag that is not UTF-8 is read as Windows-1252."""
    streams: Sequence[StreamDescriptor] = ()
    """The streams, in the order of their indexes."""

    @property
    def nb_streams(self) -> int:
        """Number of streams."""
        return len(self.streams)
