"""
The threads that read ahead of the worker.

::

    reading thread             filtering thread            caller's thread
    demux, decode, range  ──▶  video filters  ──────────▶  batches, process_frames
    audio filters   bounded queue             bounded queue

FFmpeg works without the GIL in the first two, so they run beside the worker's Python code. Without a video filter the
filtering thread is left out.

Frames travel in chunks, and audio is filtered where it is decoded: one of its frames costs FFmpeg some microseconds,
so that two threads would spend more on handing the GIL to each other at every call than on the work itself (measured:
twice the CPU time for AAC to 16 kHz mono).
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import av.error

from mcai_worker_sdk.errors import MediaTimeoutError
from mcai_worker_sdk.logs import get_logger
from mcai_worker_sdk.media.cover_art import is_attached_picture
from mcai_worker_sdk.media.damage.judging import judge_course, judge_size
from mcai_worker_sdk.media.damage.report import DamageReport
from mcai_worker_sdk.media.damage.source_size import source_size
from mcai_worker_sdk.media.model.ranges import TimeRange
from mcai_worker_sdk.media.pyav import exact
from mcai_worker_sdk.media.reading.chunks import Chunk, ChunkQueue, QueueClosedError, QueueSilentError, Segment
from mcai_worker_sdk.media.reading.clock import SourceClock, is_in_course, may_jump
from mcai_worker_sdk.media.reading.decoding.stream_decoder import StreamDecoder
from mcai_worker_sdk.media.reading.filters import FilterChain
from mcai_worker_sdk.media.reading.seeking import seek_to_range
from mcai_worker_sdk.media.sources.source import MediaSource

__all__ = ["Pipeline"]

_logger = get_logger(__name__)

#: Bytes of decoded frames that may wait for the filters: four pictures of 1080p.
DECODED_LIMIT_BYTES = 12 * 2**20
#: Bytes of frames that may wait for the worker.
READY_LIMIT_BYTES = 24 * 2**20
#: A chunk is passed on when it holds this many frames or bytes, whichever comes first.
CHUNK_FRAMES = 64
CHUNK_BYTES = 2**20

#: How far packets of the same time may lie apart in a source, in seconds: the longest fragments of MP4 in use.
INTERLEAVE_SECONDS = 10.0
#: How often a wait for frames looks whether the job shall stop, in seconds.
STOP_CHECK_SECONDS = 0.1
#: How long closing waits for a thread, in seconds; a network read that hangs is left to its own time-out.
JOIN_SECONDS = 1.0


class Pipeline:
    """Read, decode and filter the selected streams of a source; used once."""

    def __init__(
        self,
        source: MediaSource,
        decoders: Sequence[StreamDecoder],
        chains: Mapping[int, FilterChain],
        time_range: TimeRange,
        report: DamageReport,
    ) -> None:
        """
        Args:
            source: Opened; the pipeline closes it when it has read it.
            decoders: One for each selected stream.
            chains: The filter chains, by stream index; streams without one pass unfiltered.
            time_range: The part to read.
            report: Where damage is counted.
        """
        self._time_range = time_range
        self._source = source
        self._decoders = {decoder.stream_index: decoder for decoder in decoders}
        self._reader_chains = {index: chain for index, chain in chains.items() if not chain.is_video}
        self._filter_chains = {index: chain for index, chain in chains.items() if chain.is_video}
        self._report = report
        self._open_streams = set(self._decoders)
        self._clock: SourceClock | None = None
        self._only_sparse_are_open = False
        self._chunk_frames = 1 if source.is_live else CHUNK_FRAMES
        self._decoded = ChunkQueue(DECODED_LIMIT_BYTES)
        self._ready = ChunkQueue(READY_LIMIT_BYTES) if self._filter_chains else self._decoded
        # The source is closed by the reading thread once that has begun, else by whoever closes the pipeline.
        self._begin_lock = threading.Lock()
        self._has_begun = False
        self._is_closed = False
        self._threads = [threading.Thread(target=self._read, name="media-reader", daemon=True)]
        if self._filter_chains:
            self._threads.append(threading.Thread(target=self._filter, name="media-filter", daemon=True))

    def segments(self, is_stopped: Callable[[], bool]) -> Iterator[Segment]:
        """
        Start the threads; yield what they deliver, in order, until the source ends or the job shall stop.

        Raises:
            MediaSourceError: The source could not be read.
            MediaFilterError: A filter failed.
            MediaTimeoutError: A network source stayed silent.
        """
        for thread in self._threads:
            thread.start()
        while not is_stopped():
            try:
                chunk = self._ready.get(STOP_CHECK_SECONDS)
            except QueueSilentError:
                continue
            if chunk is None:
                return
            segments = chunk.segments
            del chunk
            while segments and not is_stopped():
                yield segments.pop(0)

    def close(self) -> None:
        """Stop the threads; may be called again, also when they never started."""
        with self._begin_lock:
            self._is_closed = True
        self._decoded.abort()
        self._ready.abort()
        self._source.interrupt()
        until = time.monotonic() + JOIN_SECONDS
        for thread in self._threads:
            if not thread.is_alive():
                continue
            thread.join(max(0.0, until - time.monotonic()))
            if thread.is_alive():
                _logger.warning("The thread %s still waits for the source; it is left to its time-out", thread.name)
        if not self._has_begun:
            self._source.close()

    def _read(self) -> None:
        with self._begin_lock:
            if self._is_closed:
                return
            self._has_begun = True
        failure: BaseException | None = None
        try:
            self._read_source()
        except QueueClosedError:
            pass
        except BaseException as error:  # noqa: BLE001 - carried to the thread that waits for frames
            failure = error
        finally:
            self._decoded.end(failure)
            self._source.close()

    def _read_source(self) -> None:
        container = self._source.container
        streams = [container.streams[index] for index in sorted(self._decoders)]
        if not streams or self._time_range.is_empty:
            return
        was_moved = self._time_range.start_ms is not None and seek_to_range(
            container, self._source.context, streams, self._time_range
        )
        chunk = Chunk()
        packets = container.demux(self._follow_clock(streams))
        while self._open_streams:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError as error:
                self._note_read_error(error)
                packet = None
            if packet is None:
                chunk = self._drain(chunk)
                break
            chunk = self._decode(packet, chunk)
        self._pass_on(chunk)
        if not self._source.is_live:
            self._judge_end(was_moved=was_moved)
        if self._is_at_end():
            self._source.note_end()

    def _judge_end(self, *, was_moved: bool) -> None:
        """Note in the report when the source, read to its end, stops short of what it declares."""
        container, context = self._source.container, self._source.context
        is_at_end = self._is_at_end()
        size = source_size(container) if is_at_end else None
        for decoder in self._decoders.values():
            decoder.judge_end(context.format_name, size, was_moved=was_moved)
        if size is not None:
            judge_size(self._report, size)
        if is_at_end and self._clock is not None and context.format_name == "hls":
            judge_course(self._report, context.duration, self._clock.course_seconds)

    def _is_at_end(self) -> bool:
        """Whether the source was read to its end, and not only as far as the range goes."""
        streams = self._source.container.streams
        return any(
            not decoder.has_ended and not is_attached_picture(streams[index])
            for index, decoder in self._decoders.items()
        )

    def _follow_clock(self, streams: list[Any]) -> list[Any]:
        """The streams to demux: the selected ones, and those whose clock tells where a sparse one is in the range."""
        container = self._source.container
        if not hasattr(container, "format") or not may_jump(container, is_live=self._source.is_live):
            return streams
        is_ranged = self._time_range != TimeRange()
        if is_ranged and any(self._decoders[stream.index].is_sparse for stream in streams):
            streams = [stream for stream in container.streams if stream.index in self._decoders or is_in_course(stream)]
        self._clock = SourceClock(container, streams)
        for decoder in self._decoders.values():
            decoder.clock = self._clock
        return streams

    def _decode(self, packet: Any, chunk: Chunk) -> Chunk:
        # The empty packets at the end carry their stream, but not its index.
        is_last = not packet.size and packet.dts is None
        index = packet.stream.index if is_last else packet.stream_index
        if self._clock is not None and not is_last:
            self._clock.follow(packet)
        if index not in self._decoders:
            return chunk
        decoder = self._decoders[index]
        frames = decoder.decode(packet) if packet.size or is_last else []
        if frames:
            chunk.add(decoder.stream_index, frames, decoder.size_bytes(frames))
        if (decoder.has_ended or is_last) and decoder.stream_index in self._open_streams:
            self._end_stream(decoder, chunk)
        elif self._is_past_range(packet):
            for index in sorted(self._open_streams):
                self._end_stream(self._decoders[index], chunk)
        if chunk.frame_count >= self._chunk_frames or chunk.size_bytes >= CHUNK_BYTES:
            self._pass_on(chunk)
            return Chunk()
        return chunk

    def _end_stream(self, decoder: StreamDecoder, chunk: Chunk) -> None:
        self._open_streams.discard(decoder.stream_index)
        chunk.add(decoder.stream_index, [], 0).has_ended = True
        self._only_sparse_are_open = decoder.has_ended and all(
            self._decoders[index].is_sparse for index in self._open_streams
        )

    def _is_past_range(self, packet: Any) -> bool:
        """
        Whether nothing of the range can follow this packet.

        Sound and pictures went beyond the range, and only streams that may pause for ever are open. Their packets lie
        among the others', but not everywhere at their time: a fragment of MP4 holds them behind its sound.
        """
        stop = self._time_range.stop_seconds
        if not self._only_sparse_are_open or stop is None or packet.dts is None:
            return False
        offset = 0 if self._clock is None else self._clock.offset(packet.stream_index)
        time_base = exact(packet.time_base)
        return time_base is not None and bool((packet.dts + offset) * time_base > stop + INTERLEAVE_SECONDS)

    def _pass_on(self, chunk: Chunk) -> None:
        for segment in chunk.segments:
            segment.time_seconds = self._decoders[segment.stream_index].time_seconds(segment.frames)
        if self._reader_chains:
            self._pass_filtered(chunk, self._reader_chains, self._decoded)
        else:
            self._decoded.put(chunk)

    def _drain(self, chunk: Chunk) -> Chunk:
        """Take from the decoders what they hold after the source broke off."""
        for index in sorted(self._decoders):
            if index in self._open_streams:
                stream: Any = self._source.container.streams[index]
                if self._decoders[index].is_sparse:
                    self._end_stream(self._decoders[index], chunk)
                    continue
                packet: Any = av.Packet()
                packet.stream = stream
                packet.time_base = exact(stream.time_base)
                chunk = self._decode(packet, chunk)
        return chunk

    def _note_read_error(self, error: av.error.FFmpegError) -> None:
        if isinstance(error, av.error.ExitError):
            raise MediaTimeoutError(
                "The source stayed silent for too long; expected it to go on. Check the server and the network."
            ) from error
        if self._source.ends_by_closing and isinstance(error, OSError):
            # FFmpeg misses the rest of a body whose length nobody ever said.
            _logger.info("The server closed the connection; this is the end of the source")
            return
        self._report.early_end = f"reading failed ({error.strerror})"

    def _filter(self) -> None:
        failure: BaseException | None = None
        try:
            while (chunk := self._decoded.get()) is not None:
                self._pass_filtered(chunk, self._filter_chains, self._ready)
        except QueueClosedError:
            pass
        except BaseException as error:  # noqa: BLE001 - carried to the thread that waits for frames
            failure = error
            self._decoded.abort()
        finally:
            self._ready.end(failure)

    def _pass_filtered(self, chunk: Chunk, chains: Mapping[int, FilterChain], queue: ChunkQueue) -> None:
        """Put what these chains make of a chunk into a queue; streams without a chain pass as they are."""
        out = Chunk()
        for segment in chunk.segments:
            index = segment.stream_index
            chain = chains.get(index)
            if chain is None:
                passed = out.add(index, segment.frames, segment.size_bytes)
            else:
                passed = out.add(index, [], 0)
                for frames in itertools.chain(
                    chain.process(segment.frames), chain.flush() if segment.has_ended else ()
                ):
                    if out.size_bytes >= CHUNK_BYTES:
                        queue.put(out)
                        out = Chunk()
                    passed = out.add(index, frames, chain.size_bytes(frames))
            if segment.time_seconds is not None:
                passed.time_seconds = segment.time_seconds
            passed.has_ended = segment.has_ended
        queue.put(out)
