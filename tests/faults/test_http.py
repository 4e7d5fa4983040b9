"""Health and metrics tell the truth of a worker that starts, works, is suspended, and cannot have its port."""

from __future__ import annotations

import json
import socket
import urllib.error

from tests.faults.kit import Scene, http
from tests.support.rabbitmq import eventually, free_port


async def test_metrics_count_jobs_by_outcome(scene: Scene):
    port = free_port()
    async with scene.worker(MCAI_HTTP_PORT=str(port)) as worker:
        await worker.created(scene.tap)
        await scene.submit(1)
        await scene.submit(2, "raise ValueError")
        await scene.submit(3, "os._exit(1)")
        await scene.submit_gated(4)
        during = http(port, "/metrics")[1].decode()
        scene.open_gate()
        await scene.ended(4)
        answer = await eventually(lambda: http(port, "/metrics"), lambda answer: b"in_flight 0.0" in answer[1])
        after = answer[1].decode()

        assert "mcai_jobs_in_flight 1.0" in during
        assert 'mcai_jobs_total{outcome="completed"} 2.0' in after
        assert 'mcai_jobs_total{outcome="error"} 2.0' in after
        assert 'mcai_jobs_total{outcome="stopped"} 0.0' in after
        assert "mcai_job_duration_seconds_count 4.0" in after
        assert "mcai_broker_connected 1.0" in after
        assert 'mcai_resident_memory_bytes{process="job"}' in after
        await scene.leaves_nothing(worker)


async def test_a_worker_is_ready_only_while_it_takes_jobs(scene: Scene):
    port, release = free_port(), scene.folder / "release"
    setup = f"while not os.path.exists({str(release)!r}): time.sleep(0.02)"
    async with scene.worker(MCAI_HTTP_PORT=str(port), TEST_SETUP_CODE=setup) as worker:
        await scene.tap.wait_for("worker_discovery")
        in_setup = await eventually(lambda: ask(port, "/ready"), lambda answer: answer is not None)
        release.touch()
        await worker.created(scene.tap)
        ready = http(port, "/ready")
        await scene.submit_gated(1)
        busy = http(port, "/ready")
        await scene.tap.direct({"type": "stop_consuming_jobs"})
        await scene.tap.wait_for("worker_status")
        suspended = http(port, "/ready")
        scene.open_gate()
        await scene.ended(1)

        assert in_setup is not None
        assert [answer[0] for answer in (in_setup, ready, busy, suspended)] == [503, 200, 200, 503]
        assert json.loads(busy[1])["job_id"] == 1
        assert http(port, "/live")[0] == 200
        await scene.leaves_nothing(worker)


async def test_the_endpoint_answers_while_user_code_holds_the_gil(scene: Scene):
    port = free_port()
    async with scene.worker(MCAI_HTTP_PORT=str(port)) as worker:
        await worker.created(scene.tap)
        await scene.submit(1, "ctypes.PyDLL(None).usleep(2_000_000)")
        await scene.running(1)
        answers = [http(port, path)[0] for path in ("/live", "/ready", "/metrics")]
        assert scene.ends(1) == []
        await scene.ended(1)

        assert answers == [200, 200, 200]
        await scene.leaves_nothing(worker)


async def test_a_port_that_is_taken_ends_the_worker_with_its_name(scene: Scene):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with scene.worker(MCAI_HTTP_PORT=str(port)) as worker:
            exit_code = await worker.ended(timeout_seconds=15)

            assert exit_code == 1
            assert f"MCAI_HTTP_HOST:MCAI_HTTP_PORT is 127.0.0.1:{port}" in worker.log
            assert "Traceback" not in worker.log
    assert scene.tap.keys() == []


def ask(port: int, path: str) -> tuple[int, bytes] | None:
    """The answer, or ``None`` while nobody listens yet."""
    try:
        return http(port, path)
    except urllib.error.URLError:
        return None
