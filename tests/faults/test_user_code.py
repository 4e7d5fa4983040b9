"""User code breaks, in every way it can: one run, one job_error that says why, and the worker goes on."""

from __future__ import annotations

import asyncio

import pytest

from tests.faults.kit import Scene, gone, text_of
from tests.support.rabbitmq import eventually

SEGFAULT = "ctypes.string_at(0)"
EAT_MEMORY = "hoard = bytearray(900 << 20)"
#: Takes 150 MB more than the job process holds now: enough for Python, not for the job.
LIMIT_MEMORY = """
import resource
held = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + (150 << 20), resource.RLIM_INFINITY))
"""


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise ValueError('the file is broken')", "ValueError: the file is broken"),
        ("raise ValueError('données ☃') from KeyError('why')", "caused by KeyError: 'why'"),
        ("sys.exit(4)", "SystemExit: 4"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("def f(): f()\nf()", "RecursionError"),
        ("class Odd(Exception):\n  def __str__(self): return 1 / 0\nraise Odd()", "Odd: <its text cannot be read"),
        ("ret = {'parameters': [{'id': 'n', 'kind': 'int', 'value': 'abc'}]}", "Job 1 has no result."),
    ],
    ids=["exception", "cause", "SystemExit", "KeyboardInterrupt", "GeneratorExit", "recursion", "str", "result"],
)
async def test_what_process_raises_is_reported_once_and_the_process_lives_on(scene: Scene, code: str, said: str):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        job_process = worker.job_process.pid
        await scene.submit(1, code)
        error = await scene.ended(1)
        await scene.works()

        assert said in text_of(error)
        assert error["body"]["status"] == "error"
        assert (scene.ends(1), scene.runs(1)) == (["job_error"], 1)
        assert worker.job_process.pid == job_process
        await scene.leaves_nothing(worker)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("os._exit(3)", "ended with exit code 3"),
        ("os._exit(0)", "ended with exit code 0"),
        (SEGFAULT, "signal 11 (SIGSEGV)"),
        ("os.abort()", "signal 6 (SIGABRT)"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "signal 9 (SIGKILL)"),
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)", "signal 15 (SIGTERM)"),
        ("os.closerange(3, 1024)", "ended with exit code 1"),
    ],
    ids=["exit-3", "exit-0", "segfault", "abort", "sigkill", "sigterm", "closerange"],
)
async def test_what_ends_the_job_process_is_reported_once_and_the_next_job_runs(scene: Scene, code: str, said: str):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await scene.submit(1, "ch.publish_job_progression(40)\n" + code)
        await scene.submit(2)
        error = await scene.ended(1)
        crashed = asyncio.get_running_loop().time()
        await scene.ended(2)
        recovered = asyncio.get_running_loop().time() - crashed
        await scene.works()

        assert said in text_of(error)
        assert "Peak memory" in text_of(error)
        assert [m["body"]["progression"] for m in scene.tap.out("job_progression")][:2] == [0, 40]
        assert error["body"]["execution_duration"] > 0
        assert (scene.ends(1), scene.runs(1)) == (["job_error"], 1)
        assert (scene.ends(2), scene.runs(2)) == (["job_completed"], 1)
        assert recovered < 5.0
        assert scene.tap.keys().count("worker_created") == 1
        await scene.leaves_nothing(worker)


async def test_a_job_process_killed_from_outside_is_reported_once(scene: Scene):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await scene.submit_gated(1)
        worker.job_process.kill()
        error = await scene.ended(1)
        await scene.works()

        assert "signal 9 (SIGKILL)" in text_of(error)
        assert (scene.ends(1), scene.runs(1)) == (["job_error"], 1)
        await scene.leaves_nothing(worker)


async def test_an_idle_job_process_that_is_killed_is_replaced(scene: Scene):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        killed = worker.job_process
        killed.kill()
        await gone(killed)
        await scene.works(1)

        assert scene.tap.out("job_error") == []
        assert scene.runs(1) == 1
        await scene.leaves_nothing(worker)


async def test_memory_beyond_a_limit_is_a_memory_error(scene: Scene):
    async with scene.worker(TEST_SETUP_CODE=LIMIT_MEMORY) as worker:
        await worker.created(scene.tap)
        await scene.submit(1, EAT_MEMORY)
        error = await scene.ended(1)
        await scene.works()

        assert text_of(error).startswith("MemoryError")
        assert (scene.ends(1), scene.runs(1)) == (["job_error"], 1)
        await scene.leaves_nothing(worker)


async def test_holding_the_gil_in_c_costs_neither_the_link_nor_an_answer(scene: Scene):
    async with scene.worker(AMQP_HEARTBEAT_SECONDS="1") as worker:
        await worker.created(scene.tap)
        # PyDLL keeps the GIL during the call: no thread of the job process moves for six heartbeats.
        await scene.submit(1, "ctypes.PyDLL(None).usleep(6_000_000)")
        await scene.running(1)
        waits = [await scene.status_seconds() for _ in range(3)]
        await scene.tap.direct({"type": "stop_process", "job_id": 1})
        waits.append(await scene.status_seconds())
        assert scene.ends(1) == []
        await scene.ended(1)
        await scene.works()

        assert max(waits) < 2.0
        assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 1)
        assert "is lost" not in worker.log
        await scene.leaves_nothing(worker)


async def test_a_forked_ffmpeg_that_floods_its_standard_error_disturbs_nothing(scene: Scene):
    code = """
subprocess.run(["ffmpeg", "-f", "lavfi", "-i", "testsrc=duration=60:size=64x64:rate=25",
                "-vf", "showinfo", "-f", "null", "-"], check=True)
ret = {"destination_paths": ["/done"]}"""
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await scene.submit(1, code)
        await scene.running(1)
        wait = await scene.status_seconds()
        completed = await scene.ended(1)

        assert completed["body"]["destination_paths"] == ["/done"]
        assert wait < 2.0
        assert len(worker.log) > 200_000
        assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 1)
        await scene.leaves_nothing(worker)


async def test_a_fork_that_returns_from_process_is_not_heard_twice(scene: Scene):
    code = """
child = os.fork()
if child == 0:
    ret = {"destination_paths": ["/child"]}
else:
    os.waitpid(child, 0)
    ret = {"destination_paths": ["/parent"]}"""
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await scene.submit(1, code)
        await scene.submit(2, "if os.fork() == 0: sys.exit(3)\ntime.sleep(0.2)")
        completed = await scene.ended(1)
        await scene.ended(2)
        await scene.works()

        assert completed["body"]["destination_paths"] == ["/parent"]
        assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 1)
        assert (scene.ends(2), scene.runs(2)) == (["job_completed"], 1)
        await scene.leaves_nothing(worker)


async def test_what_a_crashed_job_started_ends_with_it(scene: Scene):
    pid_file = scene.folder / "pid"
    code = f"""
child = subprocess.Popen(["sleep", "300"])
with open({str(pid_file)!r}, "w") as file: file.write(str(child.pid))
{SEGFAULT}"""
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await scene.submit(1, code)
        await scene.ended(1)

        assert await eventually(lambda: _is_sleeping(int(pid_file.read_text())), lambda alive: not alive) is False
        assert scene.ends(1) == ["job_error"]
        await scene.leaves_nothing(worker)


async def test_threads_that_outlive_their_job_publish_nothing_for_it(scene: Scene):
    code = f"""
def late():
    time.sleep(0.3)
    with open({str(scene.folder / "late")!r}, "w") as file: file.write(str(ch.publish_job_progression(77)))
threading.Thread(target=late).start()"""
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await scene.submit(1, code)
        await scene.ended(1)
        late = scene.folder / "late"
        await eventually(late.exists, bool)
        await scene.works()

        assert await eventually(late.read_text, bool) == "False"
        assert 77 not in {m["body"]["progression"] for m in scene.tap.out("job_progression")}
        await scene.leaves_nothing(worker)


async def test_a_job_that_kills_its_supervisor_by_sigterm_is_drained(scene: Scene):
    async with scene.worker() as worker:
        await worker.created(scene.tap)
        await scene.submit(1, "os.kill(os.getppid(), signal.SIGTERM); time.sleep(0.5)")
        await scene.ended(1)

        assert await worker.ended() == 0
        assert (scene.ends(1), scene.runs(1)) == (["job_completed"], 1)
        assert scene.orders_left() == []


def _is_sleeping(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().split()[2] not in ("Z", "X")
    except OSError:
        return False
