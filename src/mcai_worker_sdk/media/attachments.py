"""Pictures that are attached to a source rather than part of its course: cover art."""

from __future__ import annotations

from typing import Any

from av.stream import Disposition

__all__ = ["is_attached_picture"]


def is_attached_picture(stream: Any) -> bool:
    """
    True for a video stream of one picture without a time; FFmpeg shows the container's length as its own.

    Thumbnails that have times (chapter images) are attached too, but they are pictures of their course.
    """
    return bool(stream.disposition & Disposition.attached_pic) and not stream.disposition & Disposition.timed_thumbnails
