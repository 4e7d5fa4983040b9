"""The StepFlow backend is away, slow, wrong or unwilling: the worker works, and keeps in step when it can."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.faults.kit import Scene
from tests.support.backend import Answer, BackendStandIn
from tests.support.http_proxy import forwarding_proxy
from tests.support.rabbitmq import eventually

BLACK_LIST = "/api/step_flow/blacklist"


@pytest.fixture
def backend() -> Iterator[BackendStandIn]:
    with BackendStandIn() as stand_in:
        yield stand_in


async def black_list(scene: Scene) -> list[int]:
    """What the worker says its list is."""
    answered = len(scene.tap.out("worker_black_list"))
    await scene.tap.direct({"type": "get_black_list"})
    answers = await scene.tap.wait_for("worker_black_list", count=answered + 1)
    return list(answers[-1]["body"]["black_list"]["job_ids"])


async def until_listed(scene: Scene, job_ids: list[int]) -> None:
    async with asyncio.timeout(10):
        while await black_list(scene) != job_ids:
            pass


async def test_an_unreachable_backend_is_a_warning(scene: Scene):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await scene.works()

        assert "The black list stays as it is: The StepFlow backend at http://127.0.0.1:9/api" in worker.log
        assert await black_list(scene) == []
        await scene.leaves_nothing(worker)


async def test_a_backend_behind_a_proxy_is_asked_through_it(scene: Scene, backend: BackendStandIn):
    backend.black_list = [{"job_id": 7}]
    async with (
        forwarding_proxy() as proxy,
        scene.worker(**backend.environ(), HTTP_PROXY=f"http://127.0.0.1:{proxy.port}") as worker,
    ):
        await worker.created(scene.tap)
        await until_listed(scene, [7])

        assert {request.partition("http://")[0] for request in proxy.requests} == {"POST ", "GET "}
        await scene.leaves_nothing(worker)


async def test_a_proxy_that_fails_is_a_warning_that_names_it(scene: Scene):
    async with scene.worker(HTTP_PROXY="http://me:hidden@127.0.0.1:9") as worker:
        await worker.created(scene.tap)
        await scene.works()

        assert "(Connection refused), through the proxy http://127.0.0.1:9 of HTTP_PROXY" in worker.log
        assert "hidden" not in worker.log
        await scene.leaves_nothing(worker)


@pytest.mark.parametrize(
    ("request_line", "answer"),
    [
        (("POST", "/api/sessions"), Answer(status=401, body={"errors": {}})),
        (("POST", "/api/sessions"), Answer(status=500, body=b"<html>broken</html>", content_type="text/html")),
        (("POST", "/api/sessions"), Answer(body={"no": "token"})),
        (("GET", "/api/step_flow"), Answer(body=b"{not json")),
        (("GET", "/api/step_flow"), Answer(hang_up=True)),
        (("GET", BLACK_LIST), Answer(status=500)),
        (("GET", BLACK_LIST), Answer(body={"data": "many"})),
        (("GET", BLACK_LIST), Answer(body={"data": [{"id": 3}]})),
    ],
    ids=["401", "500", "no-token", "not-json", "hangs-up", "list-500", "list-text", "list-shape"],
)
async def test_a_backend_that_fails_is_a_warning_and_is_asked_again_by_order(
    scene: Scene, backend: BackendStandIn, request_line: tuple[str, str], answer: Answer
):
    backend.black_list = [{"job_id": 7}]
    backend.always(*request_line, answer)
    async with scene.worker(**backend.environ()) as worker:
        await worker.created(scene.tap)
        await scene.works()
        assert "The black list stays as it is" in worker.log
        assert await black_list(scene) == []
        backend.always(*request_line, None)
        await scene.tap.direct({"type": "sync_black_list"})
        await until_listed(scene, [7])

        assert backend.password not in worker.log
        await scene.leaves_nothing(worker)


async def test_a_slow_backend_holds_the_worker_up_for_two_seconds_only(scene: Scene, backend: BackendStandIn):
    backend.black_list = [7]
    backend.script("POST", "/api/sessions", Answer(delay_seconds=5, body={"access_token": "late"}))
    backend.always("GET", "/api/step_flow", Answer(body={"version": "1.9.0"}))
    backend.always("GET", BLACK_LIST, Answer(body={"data": [7], "total": 1}))
    async with scene.worker(**backend.environ()) as worker:
        await worker.created(scene.tap)
        await scene.works()
        assert f"GET {BLACK_LIST}" not in backend.lines()
        await until_listed(scene, [7])
        await scene.leaves_nothing(worker)


async def test_an_old_step_flow_keeps_no_black_list(scene: Scene, backend: BackendStandIn):
    backend.step_flow_version = "1.0.0"
    backend.black_list = [7]
    async with scene.worker(**backend.environ()) as worker:
        await worker.created(scene.tap)
        await scene.works()

        assert "StepFlow 1.0.0 at the backend is older than 1.8.2" in worker.log
        assert await black_list(scene) == []
        await scene.leaves_nothing(worker)


async def test_a_black_listed_job_is_dropped_and_the_backend_is_told(scene: Scene, backend: BackendStandIn):
    backend.black_list = [{"job_id": 7}, {"job_id": 8}]
    async with scene.worker(**backend.environ()) as worker:
        await worker.created(scene.tap)
        await scene.submit(7)
        await scene.works()
        await eventually(lambda: f"DELETE {BLACK_LIST}/7" in backend.lines(), bool)

        assert (scene.ends(7), scene.runs(7)) == ([], 0)
        await scene.leaves_nothing(worker)


@pytest.mark.parametrize("answer", [Answer(status=500), Answer(body=b"nonsense"), Answer(hang_up=True)])
async def test_a_black_listed_job_is_dropped_even_when_the_backend_cannot_be_told(
    scene: Scene, backend: BackendStandIn, answer: Answer
):
    backend.black_list = [7]
    backend.always("DELETE", f"{BLACK_LIST}/7", answer)
    async with scene.worker(**backend.environ()) as worker:
        await worker.created(scene.tap)
        await scene.submit(7)
        await scene.works()
        await eventually(lambda: "The backend was not told" in worker.log, bool)

        assert (scene.ends(7), scene.runs(7)) == ([], 0)
        await scene.leaves_nothing(worker)


async def test_the_list_is_kept_by_direct_messages_too(scene: Scene):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await scene.tap.direct({"type": "add_to_black_list", "job_id": 7})
        await scene.tap.direct({"type": "add_to_black_list", "job_id": 8})
        await scene.tap.direct({"type": "delete_from_black_list", "job_id": 8})
        assert await black_list(scene) == [7]
        await scene.submit(7)
        await scene.submit(8)
        await scene.ended(8)
        await scene.works()

        assert (scene.ends(7), scene.runs(7)) == ([], 0)
        assert (scene.ends(8), scene.runs(8)) == (["job_completed"], 1)
        await scene.leaves_nothing(worker)


async def test_a_job_listed_while_the_list_is_fetched_stays_listed(scene: Scene, backend: BackendStandIn):
    async with scene.worker(**backend.environ()) as worker:
        await worker.created(scene.tap)
        await eventually(lambda: backend.lines().count(f"GET {BLACK_LIST}"), bool)
        backend.script("GET", BLACK_LIST, Answer(body={"data": [9], "total": 1}, delay_seconds=2))
        await scene.tap.direct({"type": "sync_black_list"})
        await eventually(lambda: backend.lines().count(f"GET {BLACK_LIST}") == 2, bool)
        await scene.tap.direct({"type": "add_to_black_list", "job_id": 7})
        assert await black_list(scene) == [7]
        await until_listed(scene, [7, 9])
        await scene.submit(7)
        await scene.works()

        assert (scene.ends(7), scene.runs(7)) == ([], 0)
        await scene.leaves_nothing(worker)


async def test_an_expired_session_is_renewed(scene: Scene, backend: BackendStandIn):
    async with scene.worker(**backend.environ()) as worker:
        await worker.created(scene.tap)
        backend.revoke_tokens()
        backend.black_list = [7]
        await scene.tap.direct({"type": "sync_black_list"})
        await until_listed(scene, [7])

        assert backend.lines().count("POST /api/sessions") == 2
        await scene.leaves_nothing(worker)
