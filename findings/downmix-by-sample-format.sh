#!/usr/bin/env bash
# PyAV 18.1.0 (FFmpeg 8.1, libswresample): a stereo signal with the same sound on both sides, mixed down to mono. In
# 16-bit integers the level stays, since the matrix is scaled down so that nothing can clip; in floats, which cannot clip,
# it is not, and the sound comes out 3 dB louder (0.5 becomes 0.707). A loudness, a silence threshold or a model's input
# that was tuned on the one is wrong on the other.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check av==18.1.0 numpy==2.4.0
cat >"$folder/show.py" <<'PYTHON'
import av
import numpy

for name, samples in [
    ("s16", numpy.full((1, 2048), 16384, numpy.int16)),
    ("flt", numpy.full((1, 2048), 0.5, numpy.float32)),
]:
    frame = av.AudioFrame.from_ndarray(samples, format=name, layout="stereo")
    frame.sample_rate = 48000
    (mono,) = av.AudioResampler(format=name, layout="mono", rate=48000).resample(frame)
    level = float(mono.to_ndarray().max()) / (32768 if name == "s16" else 1)
    print(name, f"{level:.3f}")
PYTHON
"$folder/env/bin/python" "$folder/show.py" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
s16 0.500
flt 0.707
SEEN
