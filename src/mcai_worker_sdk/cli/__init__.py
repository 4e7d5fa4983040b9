"""
The command ``mcai-worker`` (extra ``cli``).

``app`` says what there is, and loads nothing else: ``--help`` answers in the time that Python takes to start.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """
    Run the command with the arguments of this process.

    Raises:
        SystemExit: Always; the exit code is 0 when all went well, 1 when something failed, 2 when the command was
            called wrongly.
    """
    try:
        from mcai_worker_sdk.cli.app import run_command
    except ModuleNotFoundError as error:
        if error.name != "typer":
            raise
        sys.exit("The command mcai-worker needs typer, which is not installed. Install mcai-worker-sdk[cli].")
    run_command()
