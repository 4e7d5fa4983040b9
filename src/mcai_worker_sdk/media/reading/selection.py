"""From the worker's stream descriptors to decoders and filter chains."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mcai_worker_sdk.errors import MediaFilterError
from mcai_worker_sdk.logs import get_logger
from mcai_worker_sdk.media.damage.report import DamageReport
from mcai_worker_sdk.media.model.descriptors import AudioStreamDescriptor, DataStreamDescriptor, VideoStreamDescriptor
from mcai_worker_sdk.media.model.format_context import FormatContext
from mcai_worker_sdk.media.model.ranges import TimeRange
from mcai_worker_sdk.media.reading.clock import may_jump
from mcai_worker_sdk.media.reading.decoding.frames import FrameDecoder
from mcai_worker_sdk.media.reading.decoding.stream_decoder import StreamDecoder
from mcai_worker_sdk.media.reading.filters import FilterChain
from mcai_worker_sdk.media.sources.source import MediaSource

__all__ = ["Selection", "select_streams"]

_logger = get_logger(__name__)

_Descriptor = AudioStreamDescriptor | VideoStreamDescriptor | DataStreamDescriptor

#: Kinds of streams each descriptor is for.
_KINDS: dict[type, tuple[str, ...]] = {
    AudioStreamDescriptor: ("AVMEDIA_TYPE_AUDIO",),
    VideoStreamDescriptor: ("AVMEDIA_TYPE_VIDEO",),
    DataStreamDescriptor: ("AVMEDIA_TYPE_SUBTITLE", "AVMEDIA_TYPE_DATA", "AVMEDIA_TYPE_ATTACHMENT"),
}


@dataclass(slots=True)
class Selection:
    """The streams a job reads."""

    decoders: list[StreamDecoder] = field(default_factory=list)
    chains: dict[int, FilterChain] = field(default_factory=dict)
    video_indexes: set[int] = field(default_factory=set)
    data_indexes: set[int] = field(default_factory=set)

    @property
    def stream_indexes(self) -> list[int]:
        """Indexes of the selected streams, rising."""
        return sorted(decoder.stream_index for decoder in self.decoders)


def select_streams(
    source: MediaSource, descriptors: object, time_range: TimeRange, report: DamageReport, *, wants_documents: bool
) -> Selection:
    """
    Check what ``init_process`` returned and set up what it asks for.

    Args:
        source: The opened source.
        descriptors: What ``init_process`` returned: a list or tuple of descriptors. An empty one selects nothing; the
            job then completes without calling ``process_frames``.
        time_range: The part of the source to read.
        report: Where decoders count damage.
        wants_documents: The worker takes TTML documents as such, not as cues or packets.

    Raises:
        MediaFilterError: It is no such list, names a stream that is not there, of another kind, or twice, or a filter
            is refused.
    """
    selection = Selection()
    for descriptor in _checked(descriptors, source.context):
        stream: Any = source.container.streams[descriptor.index]
        if isinstance(descriptor, DataStreamDescriptor):
            from mcai_worker_sdk.media.reading.decoding.data import DataDecoder

            selection.data_indexes.add(descriptor.index)
            facts = source.context.streams[descriptor.index]
            selection.decoders.append(DataDecoder(stream, facts, time_range, report, wants_documents=wants_documents))
            continue
        if stream.codec_context is None:
            raise MediaFilterError(
                f"Stream {descriptor.index} has a codec FFmpeg cannot decode here; expected one it has a decoder for. "
                "Leave the stream out."
            )
        if isinstance(descriptor, VideoStreamDescriptor):
            selection.video_indexes.add(descriptor.index)
        selection.decoders.append(FrameDecoder(stream, time_range, report))
        if descriptor.filters:
            jumps = may_jump(source.container, is_live=source.is_live)
            selection.chains[descriptor.index] = FilterChain(stream, descriptor.filters, may_jump=jumps)
    if not selection.decoders:
        _logger.warning("init_process selected no stream; the job ends without a frame")
    return selection


def _checked(descriptors: object, context: FormatContext) -> list[_Descriptor]:
    if not isinstance(descriptors, list | tuple):
        raise MediaFilterError(
            f"init_process returned {descriptors!r}; expected a list of stream descriptors. "
            "Return [VideoStreamDescriptor(0, [])] to read stream 0, or [] to read nothing."
        )
    checked: dict[int, _Descriptor] = {}
    for descriptor in descriptors:
        if not isinstance(descriptor, _Descriptor):
            raise MediaFilterError(
                f"init_process returned a list with {descriptor!r}; expected stream descriptors only. "
                "Use AudioStreamDescriptor, VideoStreamDescriptor or DataStreamDescriptor."
            )
        _check_index(descriptor, context)
        if descriptor.index in checked:
            raise MediaFilterError(
                f"Stream {descriptor.index} is selected twice; expected one descriptor for each stream. "
                "Put the filters of both into one descriptor, or apply the second in process_frames."
            )
        checked[descriptor.index] = descriptor
    return list(checked.values())


def _check_index(descriptor: _Descriptor, context: FormatContext) -> None:
    name = type(descriptor).__name__
    if descriptor.index >= context.nb_streams:
        raise MediaFilterError(
            f"The index of the {name} is {descriptor.index}; expected 0 to {context.nb_streams - 1}, the streams of "
            "the source. Take it from the streams of the format context."
        )
    kind = context.streams[descriptor.index].kind
    kinds = next(allowed for cls, allowed in _KINDS.items() if isinstance(descriptor, cls))
    if kind not in kinds:
        raise MediaFilterError(
            f"Stream {descriptor.index} is of kind {kind}; expected {' or '.join(kinds)} for this {name}. "
            "Choose the descriptor by the stream's kind."
        )
