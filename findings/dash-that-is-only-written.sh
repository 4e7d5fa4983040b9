#!/usr/bin/env bash
# PyAV 18.1.0 (FFmpeg 8.1): "dash" is in av.formats_available, which holds demuxers and muxers alike, and a manifest can
# be written. Reading that same manifest fails as "invalid data", not as an unknown format: the wheel is built without
# the XML parser that the demuxer needs. Nothing but av.ContainerFormat(name, "r") tells the two apart beforehand.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check av==18.1.0 numpy==2.4.0
cat >"$folder/show.py" <<'PYTHON'
import sys

import av
import numpy

path = f"{sys.argv[1]}/manifest.mpd"
with av.open(path, "w", format="dash") as container:
    stream = container.add_stream("mpeg4", rate=25, width=64, height=64, pix_fmt="yuv420p")
    for number in range(50):
        frame = av.VideoFrame.from_ndarray(numpy.full((64, 64, 3), number, numpy.uint8), format="rgb24")
        frame.pts = number
        for packet in stream.encode(frame):
            container.mux(packet)
    for packet in stream.encode(None):
        container.mux(packet)
print("listed", "dash" in av.formats_available)
try:
    av.ContainerFormat("dash", "r")
    print("demuxer there")
except ValueError:
    print("demuxer missing")
try:
    av.open(path).close()
    print("opened")
except av.error.InvalidDataError:
    print("invalid data")
PYTHON
"$folder/env/bin/python" "$folder/show.py" "$folder" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
listed True
demuxer missing
invalid data
SEEN
