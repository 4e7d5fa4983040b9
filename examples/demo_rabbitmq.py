"""
``make demo-rabbitmq``: a real worker behind a real broker, as StepFlow drives it.

Starts a private RabbitMQ node and ``examples/file_digest``, submits orders to it - a good one, a faulty one, one whose
file is not there yet, one that is told to stop - and shows what comes back. Everything is removed again at the end.
The exit code is 0 when every answer was the expected one.

The node and the tap on its exchanges are those of the test suite, so this runs from a checkout of the repository.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.rabbitmq import RabbitMqNode, VirtualHost, rabbitmq_is_installed  # noqa: E402
from tests.support.tap import Tap  # noqa: E402

WORKER_FOLDER = ROOT / "examples" / "file_digest"
QUEUE = "job_file_digest"
MEBIBYTE = 1 << 20
SOURCE_BYTES = 64 * MEBIBYTE
#: Long enough to be stopped on any machine; a file of holes takes no space.
ENDLESS_BYTES = 64 << 30
#: How long the worker may take for one answer. A missing file is looked for every 5 s.
ANSWER_SECONDS = 60.0


class Demo:
    """The conversation with one worker, printed as it goes; counts what was not as expected."""

    def __init__(self, tap: Tap, worker: asyncio.subprocess.Process, folder: Path) -> None:
        self._tap = tap
        self._worker = worker
        self._folder = folder
        self._began = time.monotonic()
        self._seen: dict[str, int] = {}
        self.failures = 0

    async def hold(self) -> None:
        """Say everything there is to say."""
        created = await self._answer("worker_created", "the worker takes jobs", lambda body: "instance_id" in body)
        await self._good_order()
        await self._faulty_order()
        await self._order_that_has_to_wait()
        await self._order_that_is_stopped(str(created.get("instance_id")))
        await self._end()

    async def _good_order(self) -> None:
        source, manifest = self._folder / "source.bin", self._folder / "manifest.json"
        block = os.urandom(MEBIBYTE)
        with source.open("wb") as file:
            file.writelines(block for _ in range(SOURCE_BYTES // MEBIBYTE))
        await self._submit(1, "digest 64 MiB", source_path=str(source), destination_path=str(manifest))
        await self._answer("job_completed", "status completed", lambda body: body["status"] == "completed")
        progressions = [message["body"]["progression"] for message in self._tap.out("job_progression")]
        self._expect(
            f"progressions rise from {progressions[0]} to {progressions[-1]}",
            progressions[0] == 0 and progressions[-1] == 100 and progressions == sorted(progressions),  # noqa: PLR2004
        )
        with source.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        written = json.loads(manifest.read_text(encoding="utf-8"))["files"][0]["digests"]["sha256"]
        self._expect(f"the manifest has the digest {digest[:16]}...", written == digest)

    async def _faulty_order(self) -> None:
        await self._submit(
            2, "two wrong parameters, one missing", source_path="/a", algorithms=["crc"], chunk_bytes="x"
        )
        await self._answer(
            "job_error",
            "one message names every fault",
            lambda body: all(
                name in body["parameters"][0]["value"] for name in ("algorithms", "chunk_bytes", "destination_path")
            ),
        )

    async def _order_that_has_to_wait(self) -> None:
        late, manifest = self._folder / "late.bin", self._folder / "late.json"
        await self._submit(
            3,
            "a file that is not there yet",
            source_path=str(late),
            destination_path=str(manifest),
            requirements={"paths": [str(late)]},
        )
        await self._submit(4, "the next order need not wait", source_path=__file__, destination_path=str(manifest))
        await self._answer("job_completed", "job 4 is done before job 3", lambda body: body["job_id"] == 4)  # noqa: PLR2004
        late.write_bytes(b"here I am")
        self._print("", "file", f"{late.name} appears")
        await self._answer("job_completed", "job 3 came back and ran", lambda body: body["job_id"] == 3)  # noqa: PLR2004

    async def _order_that_is_stopped(self, instance_id: str) -> None:
        endless = self._folder / "endless.bin"
        with endless.open("wb") as file:
            file.truncate(ENDLESS_BYTES)
        before = len(self._tap.out("job_progression"))
        await self._submit(
            5, "64 GiB of zeros", source_path=str(endless), destination_path=str(self._folder / "endless.json")
        )
        await self._tap.wait_for("job_progression", count=before + 1, timeout_seconds=ANSWER_SECONDS)
        await self._direct({"type": "status"}, broadcast="true")
        await self._answer(
            "worker_status",
            "busy with job 5",
            lambda body: body["worker"]["activity"] == "Busy" and body["job"]["job_id"] == 5,  # noqa: PLR2004
        )
        await self._direct({"type": "stop_process", "job_id": 5}, instance_id=instance_id)
        await self._answer("job_stopped", "status stopped", lambda body: body["status"] == "stopped")

    async def _end(self) -> None:
        await self._direct({"type": "stop_worker"}, broadcast="true")
        await self._answer("worker_terminated", "the worker says goodbye", lambda body: "instance_id" in body)
        async with asyncio.timeout(ANSWER_SECONDS):
            exit_code = await self._worker.wait()
        self._expect(f"the worker ended with exit code {exit_code}", exit_code == 0)

    async def _submit(self, job_id: int, title: str, **values: Any) -> None:
        parameters = [
            {"id": name, "type": "requirements" if name == "requirements" else "any", "value": value}
            for name, value in values.items()
        ]
        self._print("->", f"job {job_id}", title)
        await self._tap.submit(QUEUE, {"job_id": job_id, "parameters": parameters})

    async def _direct(self, message: dict[str, Any], **headers: str) -> None:
        self._print("->", message["type"], f"to {headers}")
        await self._tap.direct(message, **headers)

    async def _answer(self, key: str, expectation: str, accept: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait for the next message of a kind, show it, and hold it to what is expected of it."""
        seen = self._seen[key] = self._seen.get(key, 0) + 1
        answers = asyncio.create_task(self._tap.wait_for(key, count=seen, timeout_seconds=ANSWER_SECONDS))
        ended = asyncio.create_task(self._worker.wait())
        await asyncio.wait({answers, ended}, return_when=asyncio.FIRST_COMPLETED)
        if not answers.done() and key != "worker_terminated":
            answers.cancel()
            raise AssertionError(f"The worker ended before it published {key}.")
        ended.cancel()
        body: dict[str, Any] = (await answers)[seen - 1]["body"]
        self._print("<-", key, summary(body))
        self._expect(expectation, accept(body))
        return body

    def _expect(self, expectation: str, is_so: bool) -> None:
        self.failures += not is_so
        self._print("", "ok" if is_so else "NOT SO", expectation)

    def _print(self, arrow: str, what: str, text: str) -> None:
        print(f"{time.monotonic() - self._began:7.2f} s  {arrow:2}  {what:18} {text}", flush=True)


def summary(body: dict[str, Any]) -> str:
    """A response's essence, on one line."""
    if "worker" in body:
        job = body["job"]
        return f"{body['worker']['activity']}, job: {job and (job['job_id'], job['status'])}"
    if "status" not in body:
        return f"{body['name']} {body['version']}, instance {body['instance_id']}"
    parts = [f"job {body['job_id']} {body['status']} after {body['execution_duration']:.2f} s"]
    parts += [Path(path).name for path in body["destination_paths"]]
    parts += [f"{entry['id']}: {str(entry['value']).splitlines()[0]}" for entry in body["parameters"]]
    return ", ".join(parts)


@contextlib.contextmanager
def private_broker() -> Iterator[VirtualHost]:
    """A RabbitMQ node of our own, with one virtual host; ended and deleted at the end."""
    print("Starting a private RabbitMQ node ...", flush=True)
    node = RabbitMqNode()
    try:
        node.start()
        with node.vhost() as host:
            yield host
    finally:
        node.remove()


@contextlib.asynccontextmanager
async def file_digest_worker(host: VirtualHost, log: Path) -> Any:
    """The worker, as its README starts it, told where the broker is by its environment."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("AMQP_", "MCAI_", "MESSAGE_"))},
        "AMQP_HOSTNAME": "127.0.0.1",
        "AMQP_PORT": str(host.port),
        "AMQP_USERNAME": host.username,
        "AMQP_PASSWORD": host.password,
        "AMQP_VHOST": host.name,
        "AMQP_QUEUE": QUEUE,
        # Nothing listens there: a worker lives without its backend, with an empty black list and a warning.
        "BACKEND_HOSTNAME": "http://127.0.0.1:9/api",
    }
    with log.open("wb") as stream:
        worker = await asyncio.create_subprocess_exec(
            sys.executable,
            "file_digest_worker/worker.py",
            cwd=WORKER_FOLDER,
            env=environment,
            stdout=stream,
            stderr=stream,
        )
    try:
        yield worker
    finally:
        if worker.returncode is None:
            worker.terminate()
            await worker.wait()


async def converse(host: VirtualHost, folder: Path) -> int:
    """Hold the conversation; the number of answers that were not as expected."""
    log = folder / "worker.log"
    failures = 1
    try:
        async with Tap(host) as tap, file_digest_worker(host, log) as worker:
            demo = Demo(tap, worker, folder)
            await demo.hold()
            failures = demo.failures
    except (AssertionError, TimeoutError, LookupError) as error:
        print(f"NOT SO: {error}")
    if failures:
        print(f"--- the worker's log\n{log.read_text(encoding='utf-8', errors='replace')}---")
    return failures


def main() -> int:
    """Start, converse, clean up; the exit code."""
    if not rabbitmq_is_installed():
        print("RabbitMQ is not installed: this demo starts a node of its own. Debian: apt-get install rabbitmq-server")
        return 1
    with tempfile.TemporaryDirectory(prefix="mcai-demo-") as name, private_broker() as host:
        failures = asyncio.run(converse(host, Path(name)))
    print("Every answer was as expected." if not failures else f"{failures} of the answers were not as expected.")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
