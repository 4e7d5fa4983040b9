"""Filter chains: FFmpeg's filters between the decoder and the worker."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from typing import Any

import av.error
from av.audio.layout import AudioLayout
from av.filter import Filter as AvFilter
from av.filter import Graph

from mcai_worker_sdk.errors import MediaFilterError
from mcai_worker_sdk.media.model.descriptors import Filter
from mcai_worker_sdk.media.pyav import exact, use_one_thread
from mcai_worker_sdk.media.reading.clock import FrameClock
from mcai_worker_sdk.media.reading.decoding.frame_memory import FrameSizer

__all__ = ["FilterChain"]

#: Filters whose pictures are a window into a larger one, or lie bottom-up. Without a copy behind them the plane of such
#: a picture, line size times height, would reach beyond the memory it lies in.
_WINDOW_FILTERS = frozenset({"crop", "field", "separatefields", "untile", "vectorscope", "vflip"})

#: Filtered frames are passed on when there are this many, or when they hold this many bytes.
_OUT_FRAMES = 64
_OUT_BYTES = 2**20

#: Layouts FFmpeg assumes for a stream that only counts its channels, by that count.
_DEFAULT_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}


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
        self._time_base = exact(stream.time_base)
        self._pixel_aspect = exact(stream.sample_aspect_ratio) if self.is_video else None
        self._frame_rate = exact(stream.guessed_rate) if self.is_video else None
        self._filters = tuple(filters)
        self._sizer = FrameSizer(is_video=self.is_video)
        self._graph: Graph | None = None
        self._source: Any = None
        self._sink: Any = None
        self._input_key: tuple[Any, ...] | None = None
        self._has_input = False
        """True once the graph got a frame."""
        self._clock = FrameClock(stream, may_jump=may_jump)
        self._has_ended = False
        """True once a filter (``trim``, ...) wants no further frame."""
        declared = _declared_key(stream)
        if declared is not None:
            self._configure(declared)

    def process(self, frames: Sequence[Any]) -> Iterator[list[Any]]:
        """
        Pass frames through the chain; yield those that come out, some at a time.

        Raises:
            MediaFilterError: A filter failed.
        """
        goes_on = self._clock.goes_on
        for frame in frames:
            if self._has_ended:
                return
            if not goes_on(frame.pts):
                yield from self._feed_settled(self._clock.settle(frame))
            elif not self._takes(frame):
                yield from self._adapt(frame)
                self._push(frame)
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
            if not self._has_ended and not self._takes(frame):
                yield from self._adapt(frame)
                self._push(frame)

    def _takes(self, frame: Any) -> bool:
        """Push a frame; False where the graph is not made for it."""
        if self._graph is None or (self.is_video and _frame_key(frame, is_video=True) != self._input_key):
            return False
        try:
            self._source.push(frame)
        except av.error.FFmpegError as error:
            if error.errno == errno.EINVAL:
                return False
            self._note_end(error)
        self._has_input = True
        return True

    def _adapt(self, frame: Any) -> Iterator[list[Any]]:
        """Build the graph anew when frames change their size or format in mid-stream, as ``ffmpeg`` does."""
        key = _frame_key(frame, is_video=self.is_video)
        if key != self._input_key:
            yield from self._finish_graph()
            self._configure(key)

    def _finish_graph(self) -> Iterator[list[Any]]:
        """Let go of the graph; yield what it held back. One that never got a frame gives none, as in ``ffmpeg``."""
        if self._graph is not None and self._has_input:
            if not self._has_ended:
                self._push(None)
            yield from self._pull()
        self._graph, self._input_key, self._has_input = None, None, False

    def _push(self, frame: Any) -> None:
        self._has_input = True
        try:
            self._source.push(frame)
        except av.error.FFmpegError as error:
            self._note_end(error)

    def _note_end(self, error: av.error.FFmpegError) -> None:
        """A chain that is at its end, as behind ``trim``, takes no frame any more; any other refusal is a failure."""
        if not isinstance(error, av.error.EOFError):
            raise self._run_error(error) from error
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
            raise self._run_error(error) from error

    def _configure(self, key: tuple[Any, ...]) -> None:
        graph, source, sink = self._build(key, self._filters)
        try:
            graph.configure()
        except (av.error.FFmpegError, ValueError) as error:
            raise self._chain_error(key, error) from error
        self._graph, self._source, self._sink, self._input_key = graph, source, sink, key

    def _build(self, key: tuple[Any, ...], filters: Sequence[Filter]) -> tuple[Graph, Any, Any]:
        graph = Graph()
        if not self.is_video:
            # One thread is enough for sound.
            use_one_thread(graph)
        source = self._add_source(graph, key)
        last = source
        for position, item in enumerate(filters):
            node = self._add_filter(graph, item, position)
            self._link(last, node, item)
            last = node
        if self.is_video and _needs_copy(filters):
            last = _linked(last, graph.add("copy"))
        sink = graph.add("buffersink" if self.is_video else "abuffersink")
        self._link(last, sink, filters[-1])
        return graph, source, sink

    def _add_source(self, graph: Graph, key: tuple[Any, ...]) -> Any:
        if self.is_video:
            width, height, pixel_format, colour_space, colour_range = key
            aspect = self._pixel_aspect
            arguments = {
                "video_size": f"{width}x{height}",
                "pix_fmt": pixel_format,
                "time_base": str(self._time_base),
                "pixel_aspect": f"{aspect.numerator}/{aspect.denominator}" if aspect else "0/1",
                "colorspace": str(colour_space),
                "range": str(colour_range),
            }
            if self._frame_rate:
                arguments["frame_rate"] = str(self._frame_rate)
            return graph.add("buffer", **arguments)
        sample_rate, sample_format, layout = key
        return graph.add(
            "abuffer",
            sample_rate=str(sample_rate),
            sample_fmt=sample_format,
            channel_layout=layout,
            time_base=str(self._time_base),
        )

    def _add_filter(self, graph: Graph, item: Filter, position: int) -> Any:
        try:
            AvFilter(item.name)
        except ValueError as error:
            raise MediaFilterError(
                f"Filter {item.name!r} of stream {self._stream_index} is unknown; expected a filter of the FFmpeg that "
                "PyAV brings. Correct its name in init_process (av.filter.filters_available lists them all)."
            ) from error
        try:
            return _instance(graph, item, dict(item.parameters), position)
        except (av.error.FFmpegError, ValueError, TypeError) as error:
            raise self._option_error(item, error) from error

    def _run_error(self, error: av.error.FFmpegError) -> MediaFilterError:
        return MediaFilterError(
            f"The filters of stream {self._stream_index} are {_shown(self._filters)}; expected them to take every "
            f"frame, but one failed ({_reason(error)}). Correct them in init_process."
        )

    def _chain_error(self, key: tuple[Any, ...], error: Exception) -> MediaFilterError:
        """Find the filter the chain fails with, and its option, by setting up ever longer parts of the chain."""
        for length in range(1, len(self._filters) + 1):
            *before, item = self._filters[:length]
            if self._can_configure(key, [*before, item]):
                continue
            for name, value in item.parameters.items():
                alone = Filter(item.name)
                alone.add_parameters(**{name: value})
                if self._can_configure(key, [*before, Filter(item.name)]) and not self._can_configure(
                    key, [*before, alone]
                ):
                    return MediaFilterError(
                        f"Option {name!r} of filter {item.name!r} of stream {self._stream_index} is {value!r}; "
                        f"expected a value the filter accepts ({_reason(error)}). Correct it in init_process."
                    )
            return MediaFilterError(
                f"Filter {item!r} of stream {self._stream_index} cannot be set up ({_reason(error)}); expected a "
                "filter that fits the stream and the filters before it. Correct it in init_process."
            )
        return MediaFilterError(
            f"The filters of stream {self._stream_index} are {_shown(self._filters)}; expected a chain FFmpeg can "
            f"set up ({_reason(error)}). Check that the filters fit the stream and each other."
        )

    def _can_configure(self, key: tuple[Any, ...], filters: Sequence[Filter]) -> bool:
        try:
            self._build(key, filters)[0].configure()
        except (av.error.FFmpegError, ValueError):
            return False
        return True

    def _option_error(self, item: Filter, error: Exception) -> MediaFilterError:
        """Find the option that is wrong by setting each one alone."""
        place = f"of filter {item.name!r} of stream {self._stream_index}"
        faults = {name: _fault(item, {name: value}) for name, value in item.parameters.items()}
        for name, fault in faults.items():
            if fault is not None and "unused config" in str(fault):
                return MediaFilterError(
                    f"Option {name!r} {place} is unknown; expected an option of that filter. "
                    f"Correct its name in init_process (ffmpeg -h filter={item.name} lists them all)."
                )
        for name, fault in faults.items():
            others = {key: value for key, value in item.parameters.items() if key != name}
            if fault is not None and _fault(item, others) is None:
                return MediaFilterError(
                    f"Option {name!r} {place} is {item.parameters[name]!r}; expected a value the filter accepts "
                    f"({_reason(fault)}). Correct it in init_process."
                )
        return MediaFilterError(
            f"Filter {item.name!r} of stream {self._stream_index} has the options {dict(item.parameters)}; "
            f"expected options it can start with ({_reason(error)}). Correct them in init_process."
        )

    def _link(self, first: Any, second: Any, item: Filter) -> None:
        try:
            first.link_to(second)
        except (av.error.FFmpegError, ValueError, IndexError) as error:
            kind = "video" if self.is_video else "audio"
            raise MediaFilterError(
                f"Filter {item.name!r} of stream {self._stream_index} does not fit its place; expected a filter with "
                f"one {kind} input and one {kind} output. Replace it in init_process."
            ) from error


def _instance(graph: Graph, item: Filter, options: dict[str, str], position: int) -> Any:
    # PyAV takes the instance's name from the keyword "name", so it is never left to an option of that name.
    label = item.label or f"{item.name}_{position}"
    return graph.add(item.name, **{**options, "name": label})


def _fault(item: Filter, options: dict[str, str]) -> Exception | None:
    """Why the filter cannot start with these options, ``None`` when it can."""
    try:
        _instance(Graph(), item, options, 0)
    except (av.error.FFmpegError, ValueError, TypeError) as error:
        return error
    return None


def _linked(first: Any, second: Any) -> Any:
    first.link_to(second)
    return second


def _needs_copy(filters: Sequence[Filter]) -> bool:
    # Whatever follows them: a filter with nothing to do, such as a scale to the same size, passes the window on.
    return any(item.name in _WINDOW_FILTERS for item in filters) and filters[-1].name != "copy"


def _declared_key(stream: Any) -> tuple[Any, ...] | None:
    """What the container says frames will be like; ``None`` when only the first frame can tell."""
    codec = stream.codec_context
    if stream.type == "video":
        # What a device decodes arrives in another format than it declares; most often in this one.
        pixel_format = "nv12" if codec.is_hwaccel else codec.pix_fmt
        if not codec.width or not codec.height or pixel_format is None:
            return None
        return (codec.width, codec.height, pixel_format, int(codec.colorspace), int(codec.color_range))
    if not codec.sample_rate or not codec.format or not codec.channels:
        return None
    return (codec.sample_rate, codec.format.name, _layout_name(codec.layout, codec.channels))


def _frame_key(frame: Any, *, is_video: bool) -> tuple[Any, ...]:
    if is_video:
        return (frame.width, frame.height, frame.format.name, int(frame.colorspace), int(frame.color_range))
    layout: AudioLayout = frame.layout
    return (frame.sample_rate, frame.format.name, _layout_name(layout, layout.nb_channels))


def _layout_name(layout: AudioLayout, channels: int) -> str:
    name = layout.name
    if not name or name.endswith("channels"):
        return _DEFAULT_LAYOUTS.get(channels, f"{channels} channels")
    return name


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error)


def _shown(filters: Sequence[Filter]) -> str:
    return ", ".join(repr(item) for item in filters)
