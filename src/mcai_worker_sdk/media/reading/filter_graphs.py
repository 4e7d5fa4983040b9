"""FFmpeg's filter graphs, set up for what the frames of a stream are like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import av.error
from av.audio.layout import AudioLayout
from av.filter import Filter as AvFilter
from av.filter import Graph

from mcai_worker_sdk.media.model.descriptors import Filter
from mcai_worker_sdk.media.pyav import exact, use_one_thread
from mcai_worker_sdk.media.reading.filter_faults import chain_error, option_error, place_error, unknown_filter_error

__all__ = ["GraphBuilder", "declared_form", "form_of"]

#: Filters whose pictures are a window into a larger one, or lie bottom-up. Without a copy behind them the plane of such
#: a picture, line size times height, would reach beyond the memory it lies in.
_WINDOW_FILTERS = frozenset({"crop", "field", "separatefields", "untile", "vectorscope", "vflip"})

#: Layouts FFmpeg assumes for a stream that only counts its channels, by that count.
_DEFAULT_LAYOUTS = {1: "mono", 2: "stereo", 3: "2.1", 4: "4.0", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}


class GraphBuilder:
    """
    Set up the filters of one stream.

    A form is what frames are like, as far as a graph is made for it: size, format and colours of pictures; rate, format
    and layout of sound.

    Args:
        stream: PyAV's audio or video stream.
        filters: At least one filter.
    """

    def __init__(self, stream: Any, filters: Sequence[Filter]) -> None:
        self._stream_index: int = stream.index
        self._is_video: bool = stream.type == "video"
        self._time_base = exact(stream.time_base)
        self._pixel_aspect = exact(stream.sample_aspect_ratio) if self._is_video else None
        self._frame_rate = exact(stream.guessed_rate) if self._is_video else None
        self._filters = filters

    def configured(self, form: tuple[Any, ...]) -> tuple[Graph, Any, Any]:
        """
        The graph for frames of a form, with what takes them and what gives those that come out.

        Raises:
            MediaFilterError: FFmpeg refuses a filter, an option, a value, or the chain; the text says which.
        """
        graph, source, sink = self._build(form, self._filters)
        try:
            graph.configure()
        except (av.error.FFmpegError, ValueError) as error:
            raise chain_error(
                self._stream_index, self._filters, lambda filters: self._can_configure(form, filters), error
            ) from error
        return graph, source, sink

    def _build(self, form: tuple[Any, ...], filters: Sequence[Filter]) -> tuple[Graph, Any, Any]:
        graph = Graph()
        if not self._is_video:
            # One thread is enough for sound.
            use_one_thread(graph)
        source = self._add_source(graph, form)
        last = source
        for position, item in enumerate(filters):
            node = self._add_filter(graph, item, position)
            self._connect(last, node, item)
            last = node
        if self._is_video and _needs_copy(filters):
            copy = graph.add("copy")
            last.link_to(copy)
            last = copy
        sink = graph.add("buffersink" if self._is_video else "abuffersink")
        self._connect(last, sink, filters[-1])
        return graph, source, sink

    def _add_source(self, graph: Graph, form: tuple[Any, ...]) -> Any:
        if self._is_video:
            width, height, pixel_format, colour_space, colour_range = form
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
        sample_rate, sample_format, layout = form
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
            raise unknown_filter_error(self._stream_index, item) from error
        try:
            return _instance(graph, item, dict(item.parameters), position)
        except (av.error.FFmpegError, ValueError, TypeError) as error:
            raise option_error(self._stream_index, item, lambda options: _fault(item, options), error) from error

    def _connect(self, first: Any, second: Any, item: Filter) -> None:
        try:
            first.link_to(second)
        except (av.error.FFmpegError, ValueError, IndexError) as error:
            raise place_error(self._stream_index, item, "video" if self._is_video else "audio") from error

    def _can_configure(self, form: tuple[Any, ...], filters: Sequence[Filter]) -> bool:
        try:
            self._build(form, filters)[0].configure()
        except (av.error.FFmpegError, ValueError):
            return False
        return True


def declared_form(stream: Any) -> tuple[Any, ...] | None:
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


def form_of(frame: Any, *, is_video: bool) -> tuple[Any, ...]:
    """What a PyAV frame is like."""
    if is_video:
        return (frame.width, frame.height, frame.format.name, int(frame.colorspace), int(frame.color_range))
    layout: AudioLayout = frame.layout
    return (frame.sample_rate, frame.format.name, _layout_name(layout, layout.nb_channels))


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


def _needs_copy(filters: Sequence[Filter]) -> bool:
    # Whatever follows them: a filter with nothing to do, such as a scale to the same size, passes the window on.
    return any(item.name in _WINDOW_FILTERS for item in filters) and filters[-1].name != "copy"


def _layout_name(layout: AudioLayout, channels: int) -> str:
    name = layout.name
    if not name or name.endswith("channels"):
        return _DEFAULT_LAYOUTS.get(channels, f"{channels} channels")
    return name
