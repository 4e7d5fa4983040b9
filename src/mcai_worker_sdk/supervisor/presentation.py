"""Source orders for a person at a terminal: a progress bar per order and a table at the end (extra ``cli``)."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from mcai_worker_sdk.errors import UnsupportedVersionError
from mcai_worker_sdk.logs import get_logger
from mcai_worker_sdk.protocol.responses import JobResult
from mcai_worker_sdk.versions import check_versions

__all__ = ["OrderPresentation", "make_presentation"]

_logger = get_logger(__name__)


class OrderPresentation(Protocol):
    """What is shown of local orders beside the log. Used as a context manager around all of them."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def start(self, path: Path) -> None:
        """An order begins."""

    def progress(self, percent: int) -> None:
        """The order's job progressed."""

    def end(self, result: JobResult | None, failure: str | None) -> None:
        """The order ended, in a result or, not run, in a failure."""

    def abandon(self) -> None:
        """The process ends at once: leave the terminal usable. Called by a signal handler."""


class NoPresentation:
    """The log says it all."""

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

    def end(self, result: JobResult | None, failure: str | None) -> None:
        """Show nothing."""

    def abandon(self) -> None:
        """Nothing was changed."""


class TerminalPresentation:
    """Progress bars and a table, drawn with rich on the standard error."""

    def __init__(self) -> None:
        # rich is an extra: looked for only where a terminal could show it.
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
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
        )
        self._progress = Progress(*columns, console=self._console)
        self._table = Table("order", "status", "seconds", "outputs", title="Source orders")
        self._task = self._progress.add_task("", visible=False)
        self._path = Path()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        if self._table.row_count:
            self._console.print(self._table)

    def start(self, path: Path) -> None:
        """Add a bar."""
        self._path = path
        self._task = self._progress.add_task(path.name, total=100)

    def progress(self, percent: int) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=percent)

    def end(self, result: JobResult | None, failure: str | None) -> None:
        """Add a row to the table."""
        self._progress.stop_task(self._task)
        if result is None:
            cells = (self._path.name, "not run" if failure else "", "", _first_line(failure))
        else:
            outputs = _first_line(result.message) or ", ".join(result.destination_paths)
            cells = (self._path.name, str(result.state), f"{result.execution_duration_seconds:.2f}", outputs)
        self._table.add_row(*map(self._as_text, cells))

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
