"""The testing package: media jobs, and the files that it writes for them."""

from __future__ import annotations

import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mcai_worker_sdk as mcai
from mcai_worker_sdk.testing import Stop, Update, run_job, synthetic_audio, synthetic_subtitles, synthetic_video


class LookParameters(mcai.WorkerParameters):
    source_path: str
    name: str = "first"
    batch_size: int = 5


class Looking(mcai.Worker):
    """Notes what it sees of every stream."""

    kind = "VIDEO"

    def init_process(self, context: mcai.FormatContext, parameters: LookParameters) -> Sequence[Any]:
        self.name = parameters.name
        self.kinds = [stream.kind for stream in context.streams]
        rgb = mcai.Filter("format")
        rgb.add_parameters(pix_fmts="rgb24")
        make = {
            "VIDEO": lambda index: mcai.VideoStreamDescriptor(index, [rgb]),
            "AUDIO": lambda index: mcai.AudioStreamDescriptor(index, []),
            "SUBTITLE": mcai.DataStreamDescriptor,
        }[self.kind]
        return [make(stream.index) for stream in context.streams if stream.kind == f"AVMEDIA_TYPE_{self.kind}"]

    def process_frames(self, job_id: str, stream_index: int, frames: Sequence[Any]) -> Any:
        return {"name": self.name, "seen": [self.look(frame) for frame in frames]}

    def look(self, frame: Any) -> Any:
        return [frame.time_seconds, *map(int, frame.to_ndarray()[0, 0])]

    def update_process(self, parameters: LookParameters) -> None:
        self.name = parameters.name

    def ending_process(self) -> dict[str, Any]:
        return {"parameters": [{"id": "kinds", "kind": "array_of_strings", "value": self.kinds}]}


class Listening(Looking):
    kind = "AUDIO"

    def look(self, frame: Any) -> Any:
        return [round(float(value), 3) for value in (np.abs(frame.to_ndarray()).max(), frame.time_seconds)]


class Reading(Looking):
    kind = "SUBTITLE"

    def look(self, frame: Any) -> Any:
        return frame.text


@pytest.fixture(autouse=True)
def _in_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "looking"\nversion = "1.2.3"\n')
    monkeypatch.chdir(tmp_path)


def run(worker: type[mcai.Worker], source: Path, **options: Any) -> Any:
    made = worker(LookParameters, mcai.WorkerDescription(None))
    return run_job(made, {"source_path": source}, **options)


def test_a_video_has_a_scene_from_each_cut_on():
    done = run(Looking, synthetic_video(seconds=2, cuts=[0.4, 1.2]))

    assert (done.status, done.error) == ("completed", None)
    seen = [one for batch in done.frame_results for one in batch["seen"]]
    colours = np.array([colour for _, *colour in seen], int)
    assert len(seen) == 50
    changes = [seen[n][0] for n in range(1, 50) if np.abs(colours[n] - colours[n - 1]).max() > 40]
    assert changes == pytest.approx([0.4, 1.2])
    assert done.parameters["kinds"] == ["AVMEDIA_TYPE_VIDEO"]
    assert done.progressions[-1] == 100


def test_a_video_may_have_sound():
    done = run(Listening, synthetic_video(seconds=1, tone_hz=440))

    assert done.parameters["kinds"] == ["AVMEDIA_TYPE_VIDEO", "AVMEDIA_TYPE_AUDIO"]
    peaks = [peak for batch in done.frame_results for peak, _ in batch["seen"]]
    assert max(peaks) == pytest.approx(0.5, abs=0.1)


def test_a_sound_is_silent_where_it_shall_be():
    path = synthetic_audio(seconds=2, silences=[(0.5, 1.5)], channels=2)
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (16_000, 2, 32_000)
        samples = np.frombuffer(file.readframes(32_000), "<i2").reshape(-1, 2)

    assert np.array_equal(samples[:, 0], samples[:, 1])
    assert not samples[8_000:24_000].any()
    assert [np.abs(part).max() for part in (samples[:8_000], samples[24_000:])] == pytest.approx([16_383] * 2, abs=2)
    assert run(Listening, path).status == "completed"


def test_subtitles_are_read_as_they_were_said():
    done = run(Reading, synthetic_subtitles(cues=[(0.5, 1, "Hello"), (3661.25, 3662, "Bye")]))

    assert [text for batch in done.frame_results for text in batch["seen"]] == ["Hello", "Bye"]
    assert (
        "01:01:01,250 --> 01:01:02,000"
        in synthetic_subtitles(cues=[(0.5, 1, "Hello"), (3661.25, 3662, "Bye")]).read_text()
    )


def test_a_stop_comes_after_so_many_frames():
    done = run(Looking, synthetic_video(seconds=4), script=[Stop(after_frames=12)])

    assert done.status == "stopped"
    assert sum(len(batch["seen"]) for batch in done.frame_results) == 15, "whole batches of five"


def test_an_update_comes_after_so_many_frames():
    update = Update(after_frames=10, parameters={"source_path": "unused", "name": "second"})
    done = run(Looking, synthetic_video(seconds=1), script=[update])

    assert [batch["name"] for batch in done.frame_results] == ["first"] * 2 + ["second"] * 3


def test_the_results_go_to_the_destination_that_the_test_names(tmp_path: Path):
    worker = Looking(LookParameters, mcai.WorkerDescription(None))
    values = {"source_path": synthetic_video(seconds=1), "destination_path": tmp_path / "results.json"}
    done = run_job(worker, values)

    assert done.destination_paths == [str(tmp_path / "results.json")]
    assert (tmp_path / "results.json").exists()


def test_the_same_file_is_written_once_and_another_one_anew(tmp_path: Path):
    assert synthetic_video(seconds=1) == synthetic_video(seconds=1)
    assert synthetic_video(seconds=1) != synthetic_video(seconds=1, fps=10)
    assert synthetic_video(tmp_path / "own.mp4", seconds=1) == tmp_path / "own.mp4"


@pytest.mark.parametrize("wrong", [{"width": 161}, {"height": 91}, {"seconds": 0}])
def test_a_video_that_cannot_be_written_is_refused(wrong: dict[str, Any]):
    with pytest.raises(ValueError, match="expected even sizes"):
        synthetic_video(**wrong)
