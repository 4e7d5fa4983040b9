"""Pictures that are attached to a source rather than part of its course: cover art."""

from __future__ import annotations

from typing import Any

from av.stream import Disposition

__all__ = ["are_timed_thumbnails", "is_attached_picture"]


def is_attached_picture(stream: Any) -> bool:
    """True for a video stream of one picture without a time; FFmpeg shows the container's length as its own."""
    if stream.type != "video" or not stream.disposition & Disposition.attached_pic:
        return False
    return not are_timed_thumbnails(stream)


def are_timed_thumbnails(stream: Any) -> bool:
    """True for a video stream of pictures that stand for parts of the source (chapters), each with its time."""
    return bool(stream.disposition & Disposition.timed_thumbnails)
