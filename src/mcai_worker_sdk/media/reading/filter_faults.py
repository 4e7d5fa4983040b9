"""Why FFmpeg refuses a filter, its place, an option or a whole chain, and what would help."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import av.error

from mcai_worker_sdk.errors import MediaFilterError
from mcai_worker_sdk.media.model.descriptors import Filter

__all__ = ["chain_error", "option_error", "place_error", "run_error", "unknown_filter_error"]


def unknown_filter_error(stream_index: int, item: Filter) -> MediaFilterError:
    """FFmpeg has no filter of this name."""
    return MediaFilterError(
        f"Filter {item.name!r} of stream {stream_index} is unknown; expected a filter of the FFmpeg that "
        "PyAV brings. Correct its name in init_process (av.filter.filters_available lists them all)."
    )


def place_error(stream_index: int, item: Filter, kind: str) -> MediaFilterError:
    """The filter has other inputs and outputs than one in a row has."""
    return MediaFilterError(
        f"Filter {item.name!r} of stream {stream_index} does not fit its place; expected a filter with "
        f"one {kind} input and one {kind} output. Replace it in init_process."
    )


def run_error(stream_index: int, filters: Sequence[Filter], error: av.error.FFmpegError) -> MediaFilterError:
    """A filter failed over a frame."""
    return MediaFilterError(
        f"The filters of stream {stream_index} are {_shown(filters)}; expected them to take every "
        f"frame, but one failed ({_reason(error)}). Correct them in init_process."
    )


def chain_error(
    stream_index: int,
    filters: Sequence[Filter],
    can_configure: Callable[[Sequence[Filter]], bool],
    error: Exception,
) -> MediaFilterError:
    """Find the filter the chain fails with, and its option, by setting up ever longer parts of the chain."""
    for length in range(1, len(filters) + 1):
        *before, item = filters[:length]
        if can_configure([*before, item]):
            continue
        for name, value in item.parameters.items():
            alone = Filter(item.name)
            alone.add_parameters(**{name: value})
            if can_configure([*before, Filter(item.name)]) and not can_configure([*before, alone]):
                return MediaFilterError(
                    f"Option {name!r} of filter {item.name!r} of stream {stream_index} is {value!r}; "
                    f"expected a value the filter accepts ({_reason(error)}). Correct it in init_process."
                )
        return MediaFilterError(
            f"Filter {item!r} of stream {stream_index} cannot be set up ({_reason(error)}); expected a "
            "filter that fits the stream and the filters before it. Correct it in init_process."
        )
    return MediaFilterError(
        f"The filters of stream {stream_index} are {_shown(filters)}; expected a chain FFmpeg can "
        f"set up ({_reason(error)}). Check that the filters fit the stream and each other."
    )


def option_error(
    stream_index: int,
    item: Filter,
    fault_of: Callable[[dict[str, str]], Exception | None],
    error: Exception,
) -> MediaFilterError:
    """Find the option that is wrong by setting each one alone."""
    place = f"of filter {item.name!r} of stream {stream_index}"
    faults = {name: fault_of({name: value}) for name, value in item.parameters.items()}
    for name, fault in faults.items():
        if fault is not None and "unused config" in str(fault):
            return MediaFilterError(
                f"Option {name!r} {place} is unknown; expected an option of that filter. "
                f"Correct its name in init_process (ffmpeg -h filter={item.name} lists them all)."
            )
    for name, fault in faults.items():
        others = {key: value for key, value in item.parameters.items() if key != name}
        if fault is not None and fault_of(others) is None:
            return MediaFilterError(
                f"Option {name!r} {place} is {item.parameters[name]!r}; expected a value the filter accepts "
                f"({_reason(fault)}). Correct it in init_process."
            )
    return MediaFilterError(
        f"Filter {item.name!r} of stream {stream_index} has the options {dict(item.parameters)}; "
        f"expected options it can start with ({_reason(error)}). Correct them in init_process."
    )


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error)


def _shown(filters: Sequence[Filter]) -> str:
    return ", ".join(repr(item) for item in filters)
