"""A whole worker on a real broker: start, jobs, direct messages, end."""

from __future__ import annotations

import signal

import pytest

from tests.support.rabbitmq import VirtualHost
from tests.support.tap import Tap
from tests.support.workers import QUEUE, WorkerProcess, code_order


async def test_a_worker_announces_itself_runs_a_job_and_says_goodbye(vhost: VirtualHost):
    async with Tap(vhost) as tap, WorkerProcess(vhost) as worker:
        instance_id = await worker.created(tap)
        code = """
for i in (25, 50, 75):
    ch.publish_job_progression(i)
    time.sleep(0.02)
ret = {"destination_paths": ["/données/é☃😀.mp4"]}"""
        await tap.submit(QUEUE, code_order(1, code))
        (completed,) = await tap.wait_for("job_completed")
        worker.send_signal(signal.SIGTERM)
        exit_code = await worker.ended()
        await tap.wait_for("worker_terminated")

    assert tap.keys() == [
        "worker_discovery",
        "worker_created",
        *["job_progression"] * 4,
        "job_completed",
        "worker_terminated",
    ]
    assert [message["body"]["progression"] for message in tap.out("job_progression")] == [0, 25, 50, 75]
    assert {message["body"]["docker_container_id"] for message in tap.out("job_progression")} == {instance_id}
    assert completed["body"]["destination_paths"] == ["/données/é☃😀.mp4"]
    assert completed["body"]["execution_duration"] >= 0.06
    assert exit_code == 0


async def test_status_is_answered_in_every_activity(vhost: VirtualHost):
    async with Tap(vhost) as tap, WorkerProcess(vhost) as worker:
        await worker.created(tap)
        await tap.direct({"type": "status"})
        (idle,) = await tap.wait_for("worker_status")
        await tap.submit(QUEUE, code_order(2, "while not ch.is_stopped(): time.sleep(0.01)"))
        await tap.wait_for("job_progression")
        await tap.direct({"type": "status"})
        busy = (await tap.wait_for("worker_status", count=2))[1]
        await tap.direct({"type": "stop_consuming_jobs"})
        suspended = (await tap.wait_for("worker_status", count=3))[2]
        await tap.direct({"type": "stop_process", "job_id": 2})
        (stopped,) = await tap.wait_for("job_stopped")

    assert idle["body"]["worker"]["activity"] == "Idle"
    assert idle["body"]["job"] is None
    assert busy["body"]["worker"]["activity"] == "Busy"
    assert busy["body"]["job"]["job_id"] == 2
    assert busy["body"]["job"]["status"] == "processing"
    assert suspended["body"]["worker"]["activity"] == "Suspended"
    assert stopped["body"]["status"] == "stopped"


async def test_a_worker_takes_exactly_the_jobs_it_was_told_to_take(vhost: VirtualHost):
    async with Tap(vhost) as tap, WorkerProcess(vhost, environment={"MCAI_MAX_JOBS": "2"}) as worker:
        await worker.created(tap)
        for job_id in (1, 2, 3):
            await tap.submit(QUEUE, code_order(job_id, "ret = {}"))
        exit_code = await worker.ended()
        await tap.wait_for("worker_terminated")

    assert [message["body"]["job_id"] for message in tap.out("job_completed")] == [1, 2]
    assert exit_code == 0


@pytest.mark.parametrize(
    ("variable", "value"), [("MCAI_MAX_JOBS_PER_PROCESS", "2"), ("MCAI_MAX_RSS_MB_PER_PROCESS", "1")]
)
async def test_the_job_process_is_replaced_between_jobs(vhost: VirtualHost, variable: str, value: str):
    async with Tap(vhost) as tap, WorkerProcess(vhost, environment={variable: value}) as worker:
        await worker.created(tap)
        for job_id in range(4):
            await tap.submit(
                QUEUE, code_order(job_id, "ret = {'destination_paths': [str(os.getpid()), str(self.jobs)]}")
            )
        results = await tap.wait_for("job_completed", count=4)

    pids = [message["body"]["destination_paths"][0] for message in results]
    jobs_of_process = 2 if variable == "MCAI_MAX_JOBS_PER_PROCESS" else 1
    assert len(set(pids)) == 4 // jobs_of_process
    assert len(tap.out("worker_created")) == 1


async def test_setup_runs_once_and_its_failure_ends_the_worker_with_a_message(vhost: VirtualHost):
    failing = {"TEST_SETUP_CODE": "raise RuntimeError('the model is missing')"}
    async with Tap(vhost) as tap, WorkerProcess(vhost, environment=failing) as worker:
        exit_code = await worker.ended()
        await tap.wait_for("worker_terminated")

    assert exit_code == 1
    assert "RuntimeError: the model is missing" in worker.log
    assert "worker_created" not in set(tap.keys())
