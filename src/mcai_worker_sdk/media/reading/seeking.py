"""Reaching a range that begins far into a source, without reading all that comes before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import av
import av.error
from av.container import InputContainer

from mcai_worker_sdk.errors import MediaSourceError
from mcai_worker_sdk.logs import get_logger
from mcai_worker_sdk.media.cover_art import is_attached_picture
from mcai_worker_sdk.media.model.format_context import FormatContext
from mcai_worker_sdk.media.model.ranges import TimeRange
from mcai_worker_sdk.media.pyav import exact

__all__ = ["seek_to_range"]

_logger = get_logger(__name__)

#: Formats whose index leads to a key frame, with exact time stamps behind it.
_INDEXED_FORMATS = frozenset({"mov", "matroska"})
#: Less than this is read rather than sought: then audio is decoded from its beginning, and equals a linear decode even
#: for codecs that mix in noise from a generator's running state (AAC).
_WORTH_BYTES = 64 * 2**20
#: How long before the range reading begins, so that every decoder has settled, in seconds.
_RUN_UP_SECONDS = 10.0
_BITS_PER_BYTE = 8


def seek_to_range(
    container: InputContainer, context: FormatContext, streams: Sequence[Any], time_range: TimeRange
) -> bool:
    """
    Move to some seconds before the range when that saves reading more than 64 MiB.

    Returns:
        True when the container was moved; the streams' packets are then not counted from their beginning.

    Raises:
        MediaSourceError: The seek failed, and the container does not find back.
    """
    target = (time_range.start_seconds or 0.0) - _RUN_UP_SECONDS
    distance = target - (context.start_time or 0.0)
    if (
        not _INDEXED_FORMATS.intersection(context.format_name.split(","))
        or context.bit_rate is None
        or distance * context.bit_rate / _BITS_PER_BYTE < _WORTH_BYTES
    ):
        return False
    in_course = [stream for stream in streams if not is_attached_picture(stream)]
    if not in_course:
        return False
    leader = next((stream for stream in in_course if stream.type == "video"), in_course[0])
    time_base = exact(leader.time_base)
    if time_base is None:
        return False
    try:
        container.seek(int(target / time_base), stream=leader)
    except (av.error.FFmpegError, OSError) as error:
        _logger.info("The source cannot be sought (%s); it is read from its beginning", error)
        _return_to_beginning(container, context)
        return False
    return True


def _return_to_beginning(container: InputContainer, context: FormatContext) -> None:
    """A seek that failed may have moved all the same, to the very end for one."""
    try:
        container.seek(int((context.start_time or 0.0) * av.time_base))
    except (av.error.FFmpegError, OSError) as error:
        raise MediaSourceError(
            f"The source cannot be sought to its range nor back ({error}); expected an index that leads there. "
            "Make the file anew (ffmpeg -i FILE -c copy), or leave out sdk_start_index."
        ) from error
