"""Source orders for a person at a terminal: a progress bar per order and a table at the end (extra ``cli``)."""

from __future__ import annotations

import functools
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from mcai_worker_sdk.errors import UnsupportedVersionError
from mcai_worker_sdk.logs import get_logger
from mcai_worker_sdk.protocol.responses import JobResult
from mcai_worker_sdk.versions import check_versions

__all__ = ["OrderPresentation", "make_presentation"]

_logger = get_logger(__name__)

#: Heading of the column that only media jobs fill.
_SPEED = "frames/s"


class OrderPresentation(Protocol):
    """What is shown of local orders beside the log. Used as a context manager around all of them."""

    @property
    def shows_responses(self) -> bool:
        """Whether a person sees what the responses say, so that the log has them at DEBUG only."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def start(self, path: Path) -> None:
        """An order begins."""

    def progress(self, percent: int) -> None:
        """The order's job progressed."""

    def frames(self, count: int) -> None:
        """So many frames more of the order's media job are done."""

    def end(self, result: JobResult | None, failure: str | None) -> None:
        """The order ended, in a result or, not run, in a failure."""

    def abandon(self) -> None:
        """The process ends at once: leave the terminal usable. Called by a signal handler."""


class NoPresentation:
    """The log says it all."""

    shows_responses = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def start(self, path: Path) -> None:
        """Show nothing."""

    def progress(self, percent: int) -> None:
        """Show nothing."""

    def frames(self, count: int) -> None:
        """Show nothing."""

    def end(self, result: JobResult | None, failure: str | None) -> None:
        """Show nothing."""

    def abandon(self) -> None:
        """Nothing was changed."""


class TerminalPresentation:
    """Progress bars and a table, drawn with rich on the standard error."""

    shows_responses = True

    def __init__(self) -> None:
        # rich is an extra: looked for only where a terminal could show it.
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            Progress,
            TaskProgressColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.table import Table
        from rich.text import Text

        self._as_text = Text
        self._console = Console(stderr=True)
        # File names and messages may hold what rich would take for markup.
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[speed]}", markup=False),
        )
        self._progress = Progress(*columns, console=self._console)
        self._make_table = functools.partial(Table, title="Source orders")
        self._rows: list[dict[str, str]] = []
        self._task = self._progress.add_task("", visible=False, speed="")
        self._path = Path()
        self._frames = 0
        self._began = 0.0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        if self._rows:
            columns = [name for name in self._rows[0] if name != _SPEED or any(row[_SPEED] for row in self._rows)]
            table = self._make_table(*columns)
            for row in self._rows:
                table.add_row(*(self._as_text(row[name]) for name in columns))
            self._console.print(table)

    def start(self, path: Path) -> None:
        """Add a bar."""
        self._path = path
        self._frames, self._began = 0, time.monotonic()
        self._task = self._progress.add_task(path.name, total=100, speed="")

    def progress(self, percent: int) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=percent)

    def frames(self, count: int) -> None:
        """Show how many frames a second that makes, since the order began."""
        self._frames += count
        self._progress.update(self._task, speed=f"{self._speed()} {_SPEED}")

    def end(self, result: JobResult | None, failure: str | None) -> None:
        """Add a row to the table."""
        self._progress.stop_task(self._task)
        row = {"order": self._path.name, "status": "not run" if failure else "", "seconds": "", _SPEED: ""}
        row["outputs"] = _first_line(failure)
        if result is not None:
            row |= {"status": str(result.state), "seconds": f"{result.execution_duration_seconds:.2f}"}
            row |= {_SPEED: self._speed()}
            row["outputs"] = _first_line(result.message) or ", ".join(result.destination_paths)
        self._rows.append(row)

    def _speed(self) -> str:
        """Frames a second; empty where there were none, as of a plain worker."""
        elapsed = time.monotonic() - self._began
        return f"{self._frames / elapsed:.0f}" if self._frames and elapsed > 0 else ""

    def abandon(self) -> None:
        """Give the cursor back."""
        self._console.show_cursor()


def _first_line(text: str | None) -> str:
    return next(iter((text or "").splitlines()), "")


def make_presentation(*, wanted: bool = True) -> OrderPresentation:
    """
    Progress bars on a terminal where a supported rich is installed, else nothing beside the log.

    Args:
        wanted: False for nothing, whatever there is.
    """
    if not wanted or not sys.stderr.isatty():
        return NoPresentation()
    try:
        check_versions("cli")
        return TerminalPresentation()
    except UnsupportedVersionError as error:
        _logger.warning("No progress bars are shown: %s", error)
        return NoPresentation()
    except ImportError:
        return NoPresentation()
