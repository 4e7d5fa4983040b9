#!/usr/bin/env bash
# PyAV 18.1.0 (FFmpeg 8.1): a muxer that cannot seek back leaves the sizes in its header open. WAV, AU, CAF and FLAC are
# read again all the same; AIFF and W64 are refused as invalid data, so a worker that streams its result to standard
# output, or to a socket, must not choose these two. Both are what editing rooms exchange.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check av==18.1.0 numpy==2.4.0
cat >"$folder/show.py" <<'PYTHON'
import io

import av
import numpy


class Pipe(io.RawIOBase):
    """Takes bytes, and cannot go back."""

    def __init__(self):
        self.content = bytearray()

    def writable(self):
        return True

    def seekable(self):
        return False

    def write(self, data):
        self.content += bytes(data)
        return len(data)


for name, codec in [("wav", "pcm_s16le"), ("au", "pcm_s16be"), ("caf", "pcm_s16le"), ("flac", "flac"),
                    ("aiff", "pcm_s16be"), ("w64", "pcm_s16le")]:
    pipe = Pipe()
    with av.open(pipe, "w", format=name) as container:
        stream = container.add_stream(codec, rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(numpy.zeros((1, 48000), numpy.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts = 48000, 0
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    try:
        with av.open(io.BytesIO(bytes(pipe.content))) as container:
            print(name, sum(frame.samples for frame in container.decode(audio=0)))
    except av.error.InvalidDataError:
        print(name, "invalid data")
PYTHON
"$folder/env/bin/python" "$folder/show.py" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
wav 48000
au 48000
caf 48000
flac 48000
aiff invalid data
w64 invalid data
SEEN
