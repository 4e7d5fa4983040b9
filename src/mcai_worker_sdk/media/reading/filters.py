"""Filter chains: FFmpeg's filters between the decoder and the worker."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from typing import Any

import av.error
from av.filter import Graph

from mcai_worker_sdk.media.model.descriptors import Filter
from mcai_worker_sdk.media.reading.clock import FrameClock
from mcai_worker_sdk.media.reading.decoding.frame_memory import FrameSizer
from mcai_worker_sdk.media.reading.filter_faults import run_error
from mcai_worker_sdk.media.reading.filter_graphs import GraphBuilder, declared_form, form_of

__all__ = ["FilterChain"]

#: Filtered frames are passed on when there are this many, or when they hold this many bytes.
_OUT_FRAMES = 64
_OUT_BYTES = 2**20


class FilterChain:
    """
    The filters of one stream, in a row.

    A filter may give no frame or many for one it gets; :meth:`flush` gives what the filters still held.
    One thread at a time.

    Where frames change their size or format in mid-stream, or the clock of the source jumps, the filters give what they
    hold and begin anew.
    """

    def __init__(self, stream: Any, filters: Sequence[Filter], *, may_jump: bool = False) -> None:
        """
        Args:
            stream: PyAV's audio or video stream.
            filters: At least one filter.
            may_jump: A gap in the stream's time stamps may be a jump of its clock.

        Raises:
            MediaFilterError: FFmpeg refuses a filter, an option, a value, or the chain; the text says which.
        """
        self._stream_index: int = stream.index
        self.is_video: bool = stream.type == "video"
        self._filters = tuple(filters)
        self._builder = GraphBuilder(stream, self._filters)
        self._sizer = FrameSizer(is_video=self.is_video)
        self._graph: Graph | None = None
        self._source: Any = None
        self._sink: Any = None
        #: What the frames are like that the graph is made for.
        self._form: tuple[Any, ...] | None = None
        #: True once the graph got a frame.
        self._has_input = False
        self._clock = FrameClock(stream, may_jump=may_jump)
        #: True once a filter (``trim``, ...) wants no further frame.
        self._has_ended = False
        declared = declared_form(stream)
        if declared is not None:
            self._configure(declared)

    def process(self, frames: Sequence[Any]) -> Iterator[list[Any]]:
        """
        Pass frames through the chain; yield those that come out, some at a time.

        Raises:
            MediaFilterError: A filter failed.
        """
        # In runs, not one by one: calls for each frame of sound cost a twelfth of what an empty chain costs.
        start = 0
        while start < len(frames) and not self._has_ended:
            stop = self._clock.follow(frames, start)
            if stop == start:
                yield from self._feed_settled(self._clock.settle(frames[start]))
                stop += 1
            else:
                yield from self._feed(frames[start:stop])
            start = stop
        # Without a graph there was no frame yet: the container does not say what frames will be like.
        if self._graph is not None:
            yield from self._pull()

    def flush(self) -> Iterator[list[Any]]:
        """
        Say that no further frame comes; yield what the filters held back, some at a time.

        Raises:
            MediaFilterError: A filter failed.
        """
        yield from self._feed_settled(self._clock.release())
        yield from self._finish_graph()

    def size_bytes(self, frames: list[Any]) -> int:
        """Memory the frames that came out hold, in bytes."""
        return self._sizer.size_bytes(frames)

    def _feed_settled(self, settled: Sequence[tuple[Any, bool]]) -> Iterator[list[Any]]:
        """Pass frames of which it is known whether the clock jumped before them."""
        for frame, has_jumped in settled:
            if has_jumped:
                yield from self._finish_graph()
            yield from self._feed([frame])

    def _feed(self, frames: Sequence[Any]) -> Iterator[list[Any]]:
        """Push frames that follow each other; make the graph anew for those it is not made for."""
        position = 0
        while position < len(frames) and not self._has_ended:
            position = self._push_alike(frames, position)
            if position < len(frames) and not self._has_ended:
                yield from self._adapt(frames[position])
                self._push(frames[position])
                position += 1

    def _push_alike(self, frames: Sequence[Any], start: int) -> int:
        """Push frames from ``start`` on; return the index of the first that the graph is not made for."""
        if self._graph is None:
            return start
        push, is_video = self._source.push, self.is_video
        for position in range(start, len(frames)):
            frame = frames[position]
            # FFmpeg itself refuses sound of another form, and takes pictures of any.
            if is_video and form_of(frame, is_video=True) != self._form:
                return position
            try:
                push(frame)
            except av.error.FFmpegError as error:
                if error.errno == errno.EINVAL:
                    return position
                self._note_end(error)
                self._has_input = True
                break
            self._has_input = True
        return len(frames)

    def _adapt(self, frame: Any) -> Iterator[list[Any]]:
        """Build the graph anew when frames change their size or format in mid-stream, as ``ffmpeg`` does."""
        form = form_of(frame, is_video=self.is_video)
        if form != self._form:
            yield from self._finish_graph()
            self._configure(form)

    def _finish_graph(self) -> Iterator[list[Any]]:
        """Let go of the graph; yield what it held back. One that never got a frame gives none, as in ``ffmpeg``."""
        if self._graph is not None and self._has_input:
            if not self._has_ended:
                self._push(None)
            yield from self._pull()
        self._graph, self._form, self._has_input = None, None, False

    def _push(self, frame: Any) -> None:
        self._has_input = True
        try:
            self._source.push(frame)
        except av.error.FFmpegError as error:
            self._note_end(error)

    def _note_end(self, error: av.error.FFmpegError) -> None:
        """A chain that is at its end, as behind ``trim``, takes no frame any more; any other refusal is a failure."""
        if not isinstance(error, av.error.EOFError):
            raise run_error(self._stream_index, self._filters, error) from error
        self._has_ended = True

    def _pull(self) -> Iterator[list[Any]]:
        # Not all at once: some filters give thousands of pictures for one, and "loop" never ends.
        pull = self._sink.pull
        out: list[Any] = []
        try:
            while True:
                out.append(pull())
                if len(out) >= _OUT_FRAMES or (self.is_video and self.size_bytes(out) >= _OUT_BYTES):
                    yield out
                    out = []
        except (av.error.BlockingIOError, av.error.EOFError):
            if out:
                yield out
        except av.error.FFmpegError as error:
            raise run_error(self._stream_index, self._filters, error) from error

    def _configure(self, form: tuple[Any, ...]) -> None:
        self._graph, self._source, self._sink = self._builder.configured(form)
        self._form = form
