"""Run by ``python -m pytest`` in the example's folder."""

from pathlib import Path

import pytest
from scene_changes_worker.worker import SceneChanges

from mcai_worker_sdk.testing import Stop, run_job, synthetic_audio, synthetic_video


def test_every_cut_is_found_at_its_time() -> None:
    run = run_job(SceneChanges, {"source_path": synthetic_video(seconds=3, cuts=[0.8, 2.0])})

    assert run.status == "completed"
    cuts = [cut["time_seconds"] for batch in run.frame_results for cut in batch["cuts"]]
    assert cuts == pytest.approx([0.8, 2.0])


def test_a_stopped_job_draws_what_it_has_seen(tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    run = run_job(
        SceneChanges,
        {"source_path": synthetic_video(seconds=3), "contact_sheet_path": sheet},
        script=[Stop(after_frames=25)],
    )

    assert run.status == "stopped"
    assert sheet.exists()


def test_a_source_without_a_picture_is_refused() -> None:
    run = run_job(SceneChanges, {"source_path": synthetic_audio(seconds=1)})

    assert run.status == "error"
    assert "has no video stream" in str(run.error)
