"""Run by ``python -m pytest`` in the example's folder."""

from loudness_worker.worker import Loudness

from mcai_worker_sdk.testing import run_job, synthetic_audio


def test_a_tone_is_loud_and_a_silence_is_not() -> None:
    source = synthetic_audio(seconds=4, tone_hz=997, silences=[(2, 4)], sample_rate_hz=48_000, channels=2)
    run = run_job(Loudness, {"source_path": source, "batch_size": 10})

    assert run.status == "completed"
    momentary = [lufs for batch in run.frame_results for lufs in batch["momentary_lufs"]]
    # A tone of 997 Hz on both channels is as loud as its level: 6 dB below full scale.
    assert abs(momentary[19] - -6.0) < 0.2
    assert momentary[-1] < -60


def test_an_order_without_a_source_is_refused() -> None:
    assert "source_path" in str(run_job(Loudness, {}).error)
