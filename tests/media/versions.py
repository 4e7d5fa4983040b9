"""What the media tests run with: PyAV, the FFmpeg inside it, and the ffmpeg command they compare with."""

from __future__ import annotations

import re
import shutil
import subprocess

import av

#: libavcodec 59 belongs to FFmpeg 5, 60 to 6, and so on.
_LIBAVCODEC_AHEAD = 54


def _command_version() -> int:
    if shutil.which("ffmpeg") is None:
        return 0
    text = subprocess.run(["ffmpeg", "-version"], check=True, capture_output=True, text=True).stdout
    return int(re.search(r"^libavcodec +(\d+)\.", text, re.MULTILINE)[1]) - _LIBAVCODEC_AHEAD


#: (19, 0) for PyAV 19.0.2.
PYAV = tuple(int(number) for number in av.__version__.split(".")[:2])
#: Major version of the FFmpeg that PyAV brings, which the product decodes with.
FFMPEG_INSIDE = av.library_versions["libavcodec"][0] - _LIBAVCODEC_AHEAD
#: Major version of the ffmpeg command, which makes the files and decodes them once more; 0 without one.
FFMPEG_COMMAND = _command_version()
