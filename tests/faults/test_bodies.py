"""Bodies that are no orders: one answer each, no crash, no loop, and the next order is run."""

from __future__ import annotations

import json
import random
import string
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.faults.kit import TERMINAL, Scene, parameter, text_of
from tests.support.workers import QUEUE, code_order

SEED = 20_261_123
MEBIBYTE = 1 << 20
ORDER = code_order(1, "ret = {}")
#: With these the worker would rightly end, pause, or hold a job for its start.
MEANT = ("stop_worker", "stop_consuming_jobs", "init_process", "job")

BODIES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "The order is empty"),
    "blank": (b" \n", "The order is empty"),
    "not-json": (b"no json", "The order is not JSON"),
    "cut-off": (json.dumps(ORDER).encode()[:-3], "The order is not JSON"),
    "invalid-utf-8": (b'{"job_id": 1, "parameters": [{"id": "\xff\xfe"}]}', "The order is not JSON"),
    "nul": (b"\x00" * 64, "The order is not JSON"),
    "nan": (b'{"job_id": NaN, "parameters": []}', "The order is not JSON"),
    "array": (b"[1, 2]", "JSON array; expected one JSON object"),
    "text": (b'"job"', "JSON string; expected one JSON object"),
    "null": (b"null", "JSON null; expected one JSON object"),
    "number": (b"1e999999", "The order"),
    "no-fields": (b"{}", "job_id is missing; parameters is missing"),
    "job-id-text": (b'{"job_id": "5", "parameters": []}', "job_id"),
    "job-id-negative": (b'{"job_id": -5, "parameters": []}', "job_id"),
    "job-id-float": (b'{"job_id": 1.0, "parameters": []}', "job_id"),
    "job-id-large": (b'{"job_id": 18446744073709551616, "parameters": []}', "job_id"),
    "type-unknown": (b'{"type": "dance"}', "The order's type is 'dance'"),
    "type-object": (b'{"type": {"a": 1}}', "The order's type is"),
    "array-bomb": (b"[" * 1_000_000, "The order is not JSON"),
    "object-bomb": (b'{"a":' * 200_000, "The order is not JSON"),
    "16-mebibytes-of-nothing": (b"x" * (16 * MEBIBYTE), "The order is not JSON"),
    "16-mebibytes-of-json": (json.dumps({"type": "x" * (16 * MEBIBYTE)}).encode(), "The order's type is 'xxx"),
}
#: Here the job id can be read, and so the job's error bears it.
NAMED: dict[str, tuple[bytes, str]] = {
    "no-parameters": (b'{"job_id": 5}', "parameters is missing"),
    "parameters-object": (b'{"job_id": 5, "parameters": {"a": 1}}', "parameters: Input should be a valid array"),
    "parameter-without-id": (b'{"job_id": 5, "parameters": [{"type": "string"}]}', "parameters.0.id is missing"),
    "type-unknown": (b'{"job_id": 5, "type": "dance", "parameters": []}', "The order's type is 'dance'"),
    "requirements": (
        json.dumps({"job_id": 5, "parameters": [parameter("requirements", 3)]}).encode(),
        "Parameter 'requirements' is 3",
    ),
    "parameter-unknown": (json.dumps({"job_id": 5, "parameters": [parameter("zzz", 3)]}).encode(), "zzz"),
    "value-of-wrong-type": (json.dumps({"job_id": 5, "parameters": [parameter("code", [1])]}).encode(), "code"),
    "number-out-of-range": (
        b'{"job_id": 5, "parameters": [{"id": "code", "type": "string", "value": [1e400]}]}',
        "number out of range at parameters.0.value.0",
    ),
    "deep-value": (
        b'{"job_id": 5, "parameters": [{"id": "code", "type": "string", "value": %s}]}' % (b"[" * 150 + b"]" * 150),
        "code",
    ),
}


@pytest.mark.parametrize("lane", ["jobs", "direct"])
async def test_every_body_that_is_no_order_is_answered_and_settled_once(scene: Scene, lane: str):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        for body, said in BODIES.values():
            errors = len(scene.tap.out("job_error"))
            await send(scene, lane, body)
            error = (await scene.tap.wait_for("job_error", count=errors + 1))[-1]
            assert said in text_of(error)
            assert set(error["body"]) == {"status", "message"}
            assert len(text_of(error)) < 4096
        await scene.works()

        assert len(scene.tap.out("job_error")) == len(BODIES)
        await scene.leaves_nothing(worker)


async def test_a_faulty_order_whose_job_can_be_named_ends_that_job_once(scene: Scene):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        for body, said in NAMED.values():
            errors = len(scene.tap.out("job_error"))
            await send(scene, "jobs", body)
            error = (await scene.tap.wait_for("job_error", count=errors + 1))[-1]
            assert error["body"]["job_id"] == 5
            assert said in text_of(error)
        await scene.works()

        assert scene.ends(5) == ["job_error"] * len(NAMED)
        await scene.leaves_nothing(worker)


async def test_a_faulty_body_disturbs_no_running_job(scene: Scene):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await scene.submit_gated(1)
        await send(scene, "direct", b'{"type": "stop_process", "job_id": 1, "parameters": 3}')
        await send(scene, "direct", b"nonsense")
        await scene.tap.wait_for("job_error", count=2)
        scene.open_gate()
        await scene.ended(1)

        assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 1)
        assert ["job_id" in m["body"] for m in scene.tap.out("job_error")] == [False, False]
        await scene.leaves_nothing(worker)


async def test_an_order_of_16_mebibytes_is_run(scene: Scene):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        code = "ret = {'destination_paths': [str(len(p.code))]}\n#"
        await scene.submit(1, code + "x" * (16 * MEBIBYTE))
        completed = await scene.ended(1)
        await scene.works()

        assert int(completed["body"]["destination_paths"][0]) > 16 * MEBIBYTE
        assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 1)
        await scene.leaves_nothing(worker)


@pytest.mark.parametrize("lane", ["jobs", "direct"])
async def test_thousands_of_random_bodies_are_each_settled_once(scene: Scene, lane: str):
    """Each body is answered, on the job queue, by exactly one message that ends it; the worker lives on."""
    bodies = list(random_bodies(2000))
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        for body in bodies:
            await send(scene, lane, body)
        await scene.submit(99)
        await scene.ended(99)
        await scene.status()
        answers = [m for m in scene.tap.out(*TERMINAL) if m["body"].get("job_id") != 99]

        assert scene.tap.keys().count("worker_created") == 1
        if lane == "jobs":
            assert len(answers) == len(bodies)
        assert scene.ends(99) == ["job_completed"]
        await scene.leaves_nothing(worker)


async def send(scene: Scene, lane: str, body: bytes) -> None:
    if lane == "jobs":
        await scene.tap.submit(QUEUE, body)
    else:
        await scene.tap.direct(body)


def random_bodies(count: int) -> Iterator[bytes]:
    """Bytes, JSON and damaged orders, the same ones in each run; none that is meant to end or to pause the worker."""
    chance = random.Random(SEED)
    makers: tuple[Callable[[random.Random], bytes], ...] = (
        lambda chance: chance.randbytes(chance.randrange(200)),
        lambda chance: json.dumps(random_json(chance, 4)).encode(),
        lambda chance: damaged(chance, json.dumps(ORDER).encode()),
        lambda chance: json.dumps(damaged_order(chance)).encode(),
    )
    made = 0
    while made < count:
        body = chance.choice(makers)(chance)
        if not any(word.encode() in body for word in MEANT[:3]):
            made += 1
            yield body


def random_json(chance: random.Random, depth: int) -> Any:
    kind = chance.randrange(7 if depth else 5)
    if kind == 0:
        return chance.choice([None, True, False])
    if kind == 1:
        return chance.randrange(-(2**70), 2**70)
    if kind == 2:
        return chance.uniform(-1e9, 1e9)
    if kind in (3, 4):
        return "".join(chance.choices(string.printable + "é☃😀", k=chance.randrange(12)))
    if kind == 5:
        return [random_json(chance, depth - 1) for _ in range(chance.randrange(4))]
    keys = ("job_id", "type", "parameters", "id", "value", "x")
    return {chance.choice(keys): random_json(chance, depth - 1) for _ in range(chance.randrange(4))}


def damaged(chance: random.Random, body: bytes) -> bytes:
    data = bytearray(body)
    for _ in range(chance.randrange(1, 6)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data[: chance.randrange(len(data))] if chance.random() < 0.3 else data)


def damaged_order(chance: random.Random) -> dict[str, Any]:
    order: dict[str, Any] = code_order(chance.randrange(1000, 2000), "ret = {}")
    place = chance.choice([order, order["parameters"][0]])
    place[chance.choice(list(place))] = random_json(chance, 2)
    return order
