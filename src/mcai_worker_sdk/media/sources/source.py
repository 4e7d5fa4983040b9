"""What a source is to those who read it."""

from __future__ import annotations

from typing import Any

from mcai_worker_sdk.media.model.format_context import FormatContext

__all__ = ["MediaSource"]


class MediaSource:
    """
    An opened source: what the pipeline reads from.

    Opened, read and closed in the reading thread; :meth:`interrupt` may be called from any.

    Args:
        container: PyAV's container, opened for reading, or what is read the same way.
        context: What ``init_process`` is told.
        is_live: The source has no known end: frames are passed on one by one, no progression is reported.
        ends_by_closing: Only the server's closing tells where the source ends; it is no failure.
    """

    def __init__(
        self, container: Any, context: FormatContext, *, is_live: bool = False, ends_by_closing: bool = False
    ) -> None:
        self.container = container
        self.context = context
        self.is_live = is_live
        self.ends_by_closing = ends_by_closing

    def interrupt(self) -> None:
        """
        Make a read that waits end soon, if the source can; the read then fails or finds the end.

        Nothing here: a file answers at once, and FFmpeg ends a network read at its time-out.
        """

    def note_end(self) -> None:
        """Hear that the source was read to its end, in the reading thread; nothing here."""

    def close(self) -> None:
        """Free the source; may be called again."""
        self.container.close()
