#!/usr/bin/env bash
# PyAV 18.1.0 (FFmpeg 8.1, libavfilter): of 25 pictures a second, fps=1 does not give for second t the picture that is
# shown at t. Time stamps are rounded to the nearest second, and the last picture of those that share one is given: for
# 0 s number 12, for 1 s number 37, shown at 1.48 s. round=down is off by a whole interval, round=up gives the one shown
# at t. A thumbnail list made by the plain filter is half its interval late.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check av==18.1.0 numpy==2.4.0
cat >"$folder/show.py" <<'PYTHON'
from fractions import Fraction

import av
import numpy

for arguments in ("1", "1:round=up", "1:round=down"):
    graph = av.filter.Graph()
    source = graph.add_buffer(width=16, height=16, format="gray", time_base=Fraction(1, 25))
    rate, sink = graph.add("fps", arguments), graph.add("buffersink")
    source.link_to(rate)
    rate.link_to(sink)
    graph.configure()
    found = []

    def pull():
        while True:
            try:
                frame = graph.vpull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            found.append((frame.pts, int(frame.to_ndarray()[0, 0])))

    for number in range(100):
        frame = av.VideoFrame.from_ndarray(numpy.full((16, 16), number, numpy.uint8), format="gray")
        frame.pts, frame.time_base = number, Fraction(1, 25)
        graph.vpush(frame)
        pull()
    graph.vpush(None)
    pull()
    print(f"fps={arguments}", found)
PYTHON
"$folder/env/bin/python" "$folder/show.py" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
fps=1 [(0, 12), (1, 37), (2, 62), (3, 87)]
fps=1:round=up [(0, 0), (1, 25), (2, 50), (3, 75)]
fps=1:round=down [(0, 24), (1, 49), (2, 74)]
SEEN
