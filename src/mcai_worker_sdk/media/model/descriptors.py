"""What ``init_process`` returns: which streams to read, through which filters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from mcai_worker_sdk.errors import MediaFilterError

__all__ = ["AudioStreamDescriptor", "DataStreamDescriptor", "Filter", "VideoStreamDescriptor"]


class Filter:
    """
    One filter of FFmpeg, with its options.

    Names of filters and options are FFmpeg's own (``ffmpeg -h filter=scale`` lists them).
    They are checked when the job is initialised, before the first frame.
    """

    __slots__ = ("_label", "_name", "_parameters")

    def __init__(self, name: object, label: str | None = None) -> None:
        """
        Args:
            name: Name of the filter (``scale``).
            label: Name of this instance in FFmpeg's messages; any text, need not be unique.
        """
        if not isinstance(name, str) or not name:
            raise TypeError(f"The name of a Filter is {name!r}; expected the name of a filter of FFmpeg.")
        self._name = name
        self._label = label
        self._parameters: dict[str, str] = {}

    @property
    def name(self) -> str:
        """Name of the filter."""
        return self._name

    @property
    def label(self) -> str | None:
        """Name of this instance, if one was given."""
        return self._label

    @property
    def parameters(self) -> Mapping[str, str]:
        """The options, as text, in the order in which they were added."""
        return MappingProxyType(self._parameters)

    def add_parameters(self, **parameters: object) -> None:
        """
        Add options; an option given again is replaced.

        Args:
            **parameters: FFmpeg's names of the options; each value is passed on as ``str(value)``.
        """
        self._parameters.update({name: str(value) for name, value in parameters.items()})

    def __repr__(self) -> str:
        options = ":".join(f"{name}={value}" for name, value in self._parameters.items())
        return f"Filter({self._name}{'=' if options else ''}{options})"


class _Descriptor:
    """A stream of the source by its index."""

    __slots__ = ("_index",)

    def __init__(self, index: object) -> None:
        name = type(self).__name__
        if not isinstance(index, int) or isinstance(index, bool):
            raise TypeError(f"The index of the {name} is {index!r}; expected a whole number.")
        if index < 0:
            raise MediaFilterError(
                f"The index of the {name} is {index}; expected the index of a stream, 0 or more. "
                "Take it from the streams of the format context."
            )
        self._index = index

    @property
    def index(self) -> int:
        """Index of the stream in the source."""
        return self._index

    def __repr__(self) -> str:
        return f"{type(self).__name__}(index={self._index})"


class _FilteredDescriptor(_Descriptor):
    __slots__ = ("_filters",)

    def __init__(self, index: object, filters: object) -> None:
        super().__init__(index)
        name = type(self).__name__
        if filters is None or isinstance(filters, str) or not isinstance(filters, Iterable):
            raise TypeError(
                f"The filters of the {name} are {filters!r}; expected a sequence of Filter. "
                "Give an empty list to read the stream unfiltered."
            )
        self._filters = tuple(filters)
        for item in self._filters:
            if not isinstance(item, Filter):
                raise TypeError(f"A filter of the {name} is {item!r}; expected a Filter.")

    @property
    def filters(self) -> tuple[Filter, ...]:
        """The filters in the order in which frames pass them; empty: none."""
        return self._filters

    def __repr__(self) -> str:
        return f"{type(self).__name__}(index={self._index}, filters={list(self._filters)!r})"


class AudioStreamDescriptor(_FilteredDescriptor):
    """
    Read an audio stream.

    Args:
        index: Index of the stream in the source.
        filters: Filters every frame passes, in order. Empty: the decoder's own frames.
    """

    __slots__ = ()


class VideoStreamDescriptor(_FilteredDescriptor):
    """
    Read a video stream.

    Args:
        index: Index of the stream in the source.
        filters: Filters every frame passes, in order. Empty: the decoder's own frames.
    """

    __slots__ = ()


class DataStreamDescriptor(_Descriptor):
    """
    Read a subtitle stream as cues, or a data stream as packets.

    Args:
        index: Index of the stream in the source.
    """

    __slots__ = ()
