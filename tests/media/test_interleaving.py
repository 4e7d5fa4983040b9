"""Streams of one source whose packets lie far apart."""

from __future__ import annotations

import pytest

from tests.media.conftest import ffmpeg
from tests.media.support import NotingWorker, run_job

CUES = "".join(
    f"{n + 1}\n00:00:{n / 2:06.3f} --> 00:00:{n / 2 + 0.4:06.3f}\ncue {n}\n\n".replace(".", ",") for n in range(24)
)


@pytest.fixture(scope="module")
def fragmented(tmp_path_factory):
    """Sound and a cue every half second, in fragments of four seconds: first the sound of each, then its cues."""
    folder = tmp_path_factory.mktemp("fragmented")
    (folder / "cues.srt").write_text(CUES)
    path = folder / "fragmented.mp4"
    inputs = ["-f", "lavfi", "-i", "sine=d=12:r=48000", "-i", str(folder / "cues.srt")]
    fragments = ["-movflags", "empty_moov", "-frag_duration", "4000000"]
    ffmpeg(*inputs, "-c:a", "aac", "-c:s", "mov_text", *fragments, str(path))
    return path


@pytest.mark.parametrize("stop_ms", [3_900, 7_900, 11_900])
def test_cues_before_the_stop_are_all_there_though_the_sound_passes_it_first(fragmented, tmp_path, stop_ms):
    worker = NotingWorker("AUDIO SUBTITLE")

    run_job(worker, fragmented, tmp_path, batch_size=50, sdk_stop_index=stop_ms)

    starts = [cue.start_seconds for cue in worker.frames[1]]
    assert starts == pytest.approx([n / 2 for n in range(24) if n / 2 < stop_ms / 1000], abs=0.05)
