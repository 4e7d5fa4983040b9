"""
PyAV as the media room uses it, whichever version is installed: 15 to 19.

What its versions do differently is here and nowhere else; each function says what differs, and since when.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from fractions import Fraction
from numbers import Rational
from typing import Any

from mcai_worker_sdk.media.encodings import decode_text

# PyAV is imported where it is used: frames can be imported without the extra.

__all__ = [
    "exact",
    "open_input",
    "plain_tags",
    "pushing_packet",
    "rgb_image",
    "size_bytes",
    "sound_planes",
    "use_one_thread",
]

_LOCAL = threading.local()


def open_input(file: Any, **options: Any) -> Any:
    """
    Open a source with ``av.open``, its tags as :func:`plain_tags` expects them.

    Args:
        file: A path, a URL, or an object with ``read``.
        **options: Further arguments of ``av.open``.

    Returns:
        PyAV's ``InputContainer``.
    """
    import av

    # PyAV 19 reads tags this way always, and takes no such argument any more.
    if int(av.__version__.split(".")[0]) < 19:  # noqa: PLR2004
        options["metadata_errors"] = "surrogateescape"
    return av.open(file, mode="r", **options)


def plain_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """
    The metadata of a container or a stream, as text that every message and every file can hold.

    PyAV gives a byte that is not UTF-8 as a lone surrogate. Such a tag is read as Windows-1252.
    """
    return {_plain(name): _plain(value) for name, value in tags.items()}


def exact(rational: Rational | None) -> Fraction | None:
    """
    A time base, a rate or a ratio as a ``Fraction``; ``None`` where FFmpeg does not know it.

    PyAV 19 gives ``av.AVRational``: 0 where it is not known, and rounded to 32 bits where two are multiplied.
    """
    if not rational:
        return None
    return rational if isinstance(rational, Fraction) else Fraction(rational)


def size_bytes(container: Any) -> int | None:
    """Length of a source in bytes; ``None`` where FFmpeg does not know it, for which PyAV before 19 gives an error."""
    size: int | None = container.size
    return None if size is None or size < 0 else size


def sound_planes(av_frame: Any) -> list[Any]:
    """
    The planes of an ``av.AudioFrame``.

    PyAV itself counts them up to an empty one, which is not there behind the last of more than eight: it goes on into
    foreign memory, and since version 19 gives an error instead of planes.
    """
    from av.audio.plane import AudioPlane

    count = av_frame.layout.nb_channels if av_frame.format.is_planar else 1
    return [AudioPlane(av_frame, index) for index in range(count)]


def use_one_thread(graph: Any) -> None:
    """Let filters that are added to an ``av.filter.Graph`` use one thread; PyAV before 18 lets them use all cores."""
    if hasattr(graph, "threads"):
        graph.threads = 1


def pushing_packet(time_base: Fraction | None) -> Any:
    """
    A packet without data that FFmpeg does not take for the end of a stream, since it has side data.

    It is one that video decoders do not look at. PyAV before 16 cannot put side data into a packet.
    """
    import av.packet

    side_data: Any = getattr(av.packet, "PacketSideData", None)
    if side_data is None:
        packet = _last_packet_of_flac()
    else:
        packet = av.Packet()
        # One byte, which every packet of a transport stream has.
        kind = av.packet.packet_sidedata_type_from_literal("mpegts_stream_id")
        side_data(kind, 1).to_packet(packet, move=True)
    packet.pts = packet.dts = None
    if time_base is not None:
        packet.time_base = time_base
    return packet


def rgb_image(picture: Any) -> Any:
    """
    An ``av.VideoFrame`` as a ``PIL.Image.Image`` in RGB. Threads may convert different pictures at once.

    PyAV before 19 has a scaler for each picture, which crashes when two threads use it and keeps its memory for as long
    as the picture is there. Here, as in PyAV 19, each thread has one.
    """
    from av.video.reformatter import VideoReformatter

    scaler: VideoReformatter | None = getattr(_LOCAL, "scaler", None)
    if scaler is None:
        scaler = _LOCAL.scaler = VideoReformatter()
    rgb: Any = scaler.reformat(picture, format="rgb24")
    return rgb.to_image()


def _last_packet_of_flac() -> Any:
    """What the FLAC encoder ends with: no data, and the header of the whole as side data."""
    from av.audio.frame import AudioFrame
    from av.codec.context import CodecContext

    encoder: Any = CodecContext.create("flac", "w")
    encoder.sample_rate, encoder.format, encoder.layout = 48_000, "s16", "mono"
    encoder.time_base = Fraction(1, encoder.sample_rate)
    encoder.open()
    silence = AudioFrame("s16", "mono", encoder.frame_size)
    silence.sample_rate = encoder.sample_rate
    encoder.encode(silence)
    return encoder.encode(None)[-1]


def _plain(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        return decode_text(text.encode("utf-8", errors="surrogateescape"))
    return text
