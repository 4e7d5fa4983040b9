"""What a test run starts in sessions of their own ends with it, also when the run is killed."""

from __future__ import annotations

import subprocess

__all__ = ["Guard"]

#: The run holds the other end of the pipe, and no other program does: it closes when the run is gone, however it went.
#: The kernel's own signal for that (PR_SET_PDEATHSIG) follows the thread that started a process, and those come and go.
SCRIPT = 'read -r _ || kill -s KILL -- "-$1"'


class Guard:
    """
    Kills a process group when the test run is gone.

    Args:
        group: The group's id, which is that of its first process.
    """

    def __init__(self, group: int) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - the script above
            ["/bin/sh", "-c", SCRIPT, "guard", str(group)], stdin=subprocess.PIPE, start_new_session=True
        )

    def dismiss(self) -> None:
        """The group is gone, or is going; its id may be another one's soon."""
        self._process.kill()
        self._process.communicate()
