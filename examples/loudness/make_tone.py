"""Makes the example's input: a tone of 1 kHz that grows louder in steps, as WAV."""

from __future__ import annotations

import sys
import wave
from pathlib import Path

import numpy as np

SAMPLE_RATE_HZ = 48_000
STEP_SECONDS = 3
#: Peak level of each step, in dB below full scale. A stereo sine at -23 dBFS measures -23 LUFS (EBU Tech 3341).
STEPS_DBFS = (-43.0, -33.0, -23.0, -18.0)


def make_tone(path: Path) -> None:
    """Write the tone: stereo, 16 bits, 48 kHz."""
    time = np.arange(STEP_SECONDS * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    steps = [10 ** (level / 20) * np.sin(2 * np.pi * 1000 * time) for level in STEPS_DBFS]
    samples = np.round(np.concatenate(steps) * 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(np.repeat(samples, 2).tobytes())


if __name__ == "__main__":
    make_tone(Path(sys.argv[1] if len(sys.argv) > 1 else "tone.wav"))
