"""Local orders, as a developer runs them: a script, ``SOURCE_ORDERS``, an exit code, Ctrl-C, a terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "support" / "local"
LINE = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{9} UTC - [0-9a-f-]{36} - job_undefined"
    r" - (-?\d+) - (DEBUG|INFO|WARN|ERROR) - (.*)"
)
WAIT_FOR_STOP = "ch.publish_job_progression(1)\nwhile not ch.is_stopped(): time.sleep(0.01)"
IGNORE_STOP = "ch.publish_job_progression(1)\nwhile True: time.sleep(0.01)"

Order = Callable[..., Path]


class Run:
    """A worker that came to its end."""

    def __init__(self, exit_code: int, stdout: str, stderr: str) -> None:
        self.exit_code = exit_code
        self.stdout = stdout
        self.stderr = stderr

    def responses(self, kind: str) -> list[dict[str, Any]]:
        """The logged responses of one kind: ``Feedback``, ``Completed``, ``Stopped``, ``Error``."""
        marker = f'{{"{kind}"'
        return [json.loads(line[line.index(marker) :])[kind] for line in self.stderr.splitlines() if marker in line]

    def ends(self) -> list[tuple[int, str]]:
        """Job and state of every result, in order."""
        found = re.findall(r'\{"(?:Completed|Stopped|Error)".*', self.stderr)
        return [(body["job_id"], body["status"]) for text in found for body in json.loads(text).values()]

    def error_texts(self) -> list[str]:
        """The message of every job_error."""
        return [body["parameters"][0]["value"] for body in self.responses("Error")]

    def lines(self, text: str) -> list[tuple[int, str]]:
        """Job id and level of the log lines with this text."""
        matches = (LINE.fullmatch(line) for line in self.stderr.splitlines())
        return [(int(match[1]), match[2]) for match in matches if match and text in match[3]]


def start(
    *orders: Path | str, script: str = "worker.py", folder: Path = FOLDER, **environment: str
) -> subprocess.Popen[str]:
    if orders:
        environment["SOURCE_ORDERS"] = os.pathsep.join(map(str, orders))
    return subprocess.Popen(
        [sys.executable, script],
        cwd=folder,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(worker: subprocess.Popen[str], seen: str = "") -> Run:
    try:
        stdout, stderr = worker.communicate(timeout=50)
    finally:
        worker.kill()
    return Run(worker.returncode, stdout, seen + stderr)


def run(*orders: Path | str, **options: Any) -> Run:
    return finish(start(*orders, **options))


def read_until(worker: subprocess.Popen[str], text: str) -> str:
    assert worker.stderr is not None
    seen = ""
    for line in worker.stderr:
        seen += line
        if text in line:
            return seen
    raise AssertionError(f"The worker ended before it wrote {text!r}:\n{seen}")


@pytest.fixture
def order(tmp_path: Path) -> Order:
    """Writes an order file for the worker that runs the code in it."""

    def write(job_id: int, code: str = "", *more: dict[str, Any]) -> Path:
        path = tmp_path / f"order-{job_id}.json"
        parameters = [{"id": "code", "type": "string", "value": code}, *more]
        path.write_text(json.dumps({"job_id": job_id, "parameters": parameters}))
        return path

    return write


# Several orders, exit codes


def test_orders_run_in_turn_in_one_process_and_the_worker_returns(order: Order):
    code = "ch.publish_job_progression(50)\nret = {'destination_paths': [f'/{self.jobs}/{os.getpid()}']}"
    done = run(*(order(job_id, code) for job_id in (1, 2, 3)))

    assert done.exit_code == 0, done.stderr
    assert done.ends() == [(1, "completed"), (2, "completed"), (3, "completed")]
    paths = [body["destination_paths"][0].split("/")[1:] for body in done.responses("Completed")]
    assert [int(jobs) for jobs, _ in paths] == [1, 2, 3]
    assert len({pid for _, pid in paths}) == 1
    assert [(body["job_id"], body["progression"]) for body in done.responses("Feedback")] == [
        (job_id, percent) for job_id in (1, 2, 3) for percent in (0, 50)
    ]
    assert done.stdout == "start() returned\n"
    assert done.lines("The worker has ended with exit code 0.") == [(-1, "INFO")]


def test_a_response_carries_what_the_protocol_says(order: Order):
    done = run(order(5, "ret = {'parameters': [{'id': 'n', 'kind': 'int', 'value': 3}]}"))

    (completed,) = done.responses("Completed")
    assert completed["status"] == "completed"
    assert completed["parameters"] == [{"id": "n", "type": "int", "value": 3, "store": None, "default": None}]
    assert {"datetime", "execution_duration", "job_id", "status", "destination_paths"} <= set(completed)


def test_a_failing_job_leaves_the_next_one_alone_and_the_exit_code_is_1(order: Order):
    done = run(order(1, "raise ValueError('the file is broken')"), order(2))

    assert done.exit_code == 1
    assert done.ends() == [(1, "error"), (2, "completed")]
    assert done.error_texts()[0].startswith("ValueError: the file is broken\n")
    assert done.lines("The job failed.") == [(1, "ERROR")]
    assert done.lines("The worker has ended with exit code 1.") == [(-1, "INFO")]
    assert "start() returned" not in done.stdout


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("sys.exit(0)", "SystemExit: 0"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("class A:\n  def f(self): self.f()\nA().f()", "RecursionError"),
        ("raise MemoryError", "MemoryError"),
        ("ch.set_job_status(mcai.JobStatus.Error)\nch.set_error_message('no such clip')", "no such clip"),
        ("ret = {'parameters': [{'id': 'n', 'kind': 'int', 'value': 'abc'}]}", "'n'"),
        ("ch.publish_job_progression('9')", "The job progression is '9'; expected a number of percents from 0 to 100."),
    ],
)
def test_whatever_a_job_fails_with_the_worker_goes_on(order: Order, code: str, said: str):
    done = run(order(1, code), order(2))

    assert done.exit_code == 1
    assert done.ends() == [(1, "error"), (2, "completed")]
    assert said in done.error_texts()[0]


def test_wrong_parameters_are_all_named(order: Order):
    done = run(
        order(1, "", {"id": "number", "type": "integer", "value": "x"}, {"id": "tokn", "type": "string", "value": "y"})
    )

    assert done.exit_code == 1
    (text,) = done.error_texts()
    assert "number" in text
    assert "tokn" in text


# Orders that cannot be run


def test_a_missing_file_is_named_and_the_next_order_runs(order: Order, tmp_path: Path):
    done = run(tmp_path / "absent.json", order(2))

    assert done.exit_code == 1
    assert done.ends() == [(2, "completed")]
    (line,) = [line for line in done.stderr.splitlines() if "ERROR" in line]
    assert f"The source order '{tmp_path}/absent.json' cannot be read: No such file or directory." in line
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "JSON"),
        ("{", "JSON"),
        ("[]", "order"),
        ('{"job_id": "seven", "parameters": []}', "job_id"),
        ('{"parameters": []}', "job_id"),
        ("\x00\x01", "JSON"),
    ],
)
def test_a_file_that_is_no_order_is_named_and_the_next_order_runs(
    order: Order, tmp_path: Path, content: str, said: str
):
    bad = tmp_path / "bad.json"
    bad.write_text(content)
    done = run(bad, order(2))

    assert done.exit_code == 1
    assert done.ends() == [(2, "completed")]
    (line,) = [line for line in done.stderr.splitlines() if " - ERROR - " in line]
    assert str(bad) in line
    assert said in line
    assert "Traceback" not in done.stderr


def test_a_directory_is_no_order(order: Order, tmp_path: Path):
    done = run(tmp_path, order(2))

    assert done.exit_code == 1
    assert "cannot be read: Is a directory." in done.stderr
    assert done.ends() == [(2, "completed")]


def test_missing_requirements_fail_the_order_at_once(order: Order, tmp_path: Path):
    paths = {"id": "requirements", "type": "requirements", "value": {"paths": [str(tmp_path), "/no/such/file"]}}
    done = run(order(1, "", paths), order(2))

    assert done.exit_code == 1
    assert done.ends() == [(1, "error"), (2, "completed")]
    assert done.error_texts() == ["The job's requirements do not exist: /no/such/file."]


def test_an_order_that_another_one_keeps_from_running_is_not_counted_as_done(order: Order, tmp_path: Path):
    initialise = tmp_path / "init.json"
    initialise.write_text(json.dumps({"type": "init_process", **json.loads(order(1).read_text())}))
    done = run(initialise, order(2))

    assert done.exit_code == 1
    assert done.ends() == [(1, "stopped")]
    assert len(done.lines("was not run: another job is initialised")) == 1


# setup()


def test_a_setup_that_fails_ends_the_worker_before_the_first_order(order: Order):
    done = run(order(1), TEST_SETUP_CODE="raise OSError('no model here')")

    assert done.exit_code == 1
    assert done.ends() == []
    assert done.lines("The worker cannot run: OSError: no model here") == [(-1, "ERROR")]


def test_a_setup_that_exits_is_told_like_any_failure(order: Order):
    done = run(order(1), TEST_SETUP_CODE="sys.exit(0)")

    assert done.exit_code == 1
    assert done.lines("The worker cannot run: SystemExit: 0") == [(-1, "ERROR")]


POOLS = """
import multiprocessing
for number in range(20):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        if number % 2:
            pool.map(len, ["a"])
"""


def test_pools_of_a_job_are_ended_without_harm_to_the_run(order: Order):
    done = run(order(1, POOLS), order(2))

    assert done.exit_code == 0
    assert done.ends() == [(1, "completed"), (2, "completed")]
    assert "Interrupted" not in done.stderr


# Ctrl-C


def test_ctrl_c_asks_the_job_to_stop_and_leaves_the_other_orders(order: Order):
    worker = start(order(1, WAIT_FOR_STOP + "\nret = {'destination_paths': ['/half']}"), order(2))
    seen = read_until(worker, '"progression": 1,')
    worker.send_signal(signal.SIGINT)
    done = finish(worker, seen)

    assert done.exit_code == 1
    assert done.ends() == [(1, "stopped")]
    assert done.responses("Stopped")[0]["destination_paths"] == ["/half"]
    assert len(done.lines("Interrupted: the job is asked to stop")) == 1
    assert len(done.lines("order-2.json' is left: the run was interrupted.")) == 1


def test_a_second_ctrl_c_ends_at_once(order: Order):
    worker = start(order(1, IGNORE_STOP), order(2))
    seen = read_until(worker, '"progression": 1,')
    worker.send_signal(signal.SIGINT)
    seen += read_until(worker, "Interrupted")
    worker.send_signal(signal.SIGINT)
    done = finish(worker, seen)

    assert done.exit_code == 128 + signal.SIGINT
    assert done.ends() == []


def test_ctrl_c_during_setup_leaves_every_order(order: Order):
    setup = "print('in setup', file=sys.stderr, flush=True)\nthreading.Event().wait(1.0)"
    worker = start(order(1), TEST_SETUP_CODE=setup)
    seen = read_until(worker, "in setup")
    worker.send_signal(signal.SIGINT)
    done = finish(worker, seen)

    assert done.exit_code == 1
    assert done.ends() == []
    assert len(done.lines("is left: the run was interrupted.")) == 1


def test_a_job_that_handles_its_own_keyboard_interrupt_is_not_interrupted(order: Order):
    code = (
        "try:\n  "
        + WAIT_FOR_STOP.replace("\n", "\n  ")
        + "\nexcept KeyboardInterrupt:\n  raise SystemError('interrupted')"
    )
    worker = start(order(1, code))
    seen = read_until(worker, '"progression": 1,')
    worker.send_signal(signal.SIGINT)

    assert finish(worker, seen).ends() == [(1, "stopped")]


# DESCRIBE and what start() refuses


def test_describe_prints_the_description_and_runs_nothing(order: Order):
    done = run(order(1), DESCRIBE="1")

    described = json.loads(done.stdout.removesuffix("start() returned\n"))
    assert done.exit_code == 0
    assert done.stderr == ""
    assert (described["name"], described["version"], described["license"]) == ("local_test_worker", "1.2.3", "MIT")
    assert set(described["parameters"]["properties"]) >= {"code", "number", "token", "requirements", "source_paths"}
    assert described["parameters"]["required"] == ["code"]


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"MCAI_LOG": "loud"}, ["MCAI_LOG", "'loud'", "DEBUG, INFO"]),
        (
            {"MCAI_LOG": "loud", "AMQP_PORT": "x"},
            [
                "2 environment variables",
                "\n- The environment variable MCAI_LOG",
                "\n- The environment variable AMQP_PORT",
            ],
        ),
    ],
)
def test_what_keeps_a_worker_from_starting_is_told_in_a_line_without_a_traceback(
    order: Order, environment: dict[str, str], said: list[str]
):
    done = run(order(1), **environment)

    assert done.exit_code == 1
    assert done.stderr.startswith("The worker cannot start. ")
    assert [text for text in said if text not in done.stderr] == []
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_ends_a_broker_worker_in_one_line_and_leaves_no_process():
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run(MCAI_HTTP_PORT=str(taken.getsockname()[1]))

    assert done.exit_code == 1
    assert "The worker cannot start: MCAI_HTTP_HOST:MCAI_HTTP_PORT is 127.0.0.1:" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_description_is_told_where_the_worker_is_built(tmp_path: Path):
    (tmp_path / "worker.py").write_text((FOLDER / "worker.py").read_text())
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "w"\nversion = "first"\n')
    done = run(folder=tmp_path)

    assert done.exit_code == 1
    assert "The key project.version of" in done.stderr.splitlines()[-1]
    assert "is 'first'; expected a version by SemVer or PEP 440" in done.stderr.splitlines()[-1]


def test_a_worker_without_a_licence_is_warned_about_it(tmp_path: Path, order: Order):
    (tmp_path / "worker.py").write_text((FOLDER / "worker.py").read_text())
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "w"\nversion = "1.0"\n')
    done = run(order(1), folder=tmp_path)

    assert done.exit_code == 0, done.stderr
    assert done.lines("The worker w names no licence.") == [(-1, "WARN")]


# Shapes of workers


WORKERS = {
    "super": """
class W(mcai.Worker):
    def __init__(self, params, desc):
        super().__init__(params, desc)
    def process(self, channel, parameters, job_id): return {}
worker = W(P, mcai.WorkerDescription(__package__))""",
    "no super": """
class W(mcai.Worker):
    def __init__(self, params, desc):
        self.model = 1
    def process(self, channel, parameters, job_id): return {}
worker = W(P, mcai.WorkerDescription(__package__))""",
    "no init": """
class W(mcai.Worker):
    def process(self, channel, parameters, job_id): return {}
worker = W(P, mcai.WorkerDescription(__package__))""",
    "keywords": """
class W(mcai.Worker):
    def process(self, channel, parameters, job_id): return {}
worker = W(parameters=P, description=mcai.WorkerDescription(package_name=__package__))""",
    "own arguments": """
class W(mcai.Worker):
    def __init__(self, model): super().__init__(P, mcai.WorkerDescription(__package__))
    def process(self, channel, parameters, job_id): return {}
worker = W("model")""",
}


@pytest.mark.parametrize("shape", WORKERS)
def test_every_shape_of_worker_runs(tmp_path: Path, order: Order, shape: str):
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "w"\nversion = "1.0"\nlicense = "MIT"\n')
    (tmp_path / "worker.py").write_text(
        "import mcai_worker_sdk as mcai\nclass P(mcai.WorkerParameters):\n    code: str\n"
        f"{WORKERS[shape]}\nworker.start()\n"
    )
    done = run(order(1), folder=tmp_path)

    assert done.exit_code == 0, done.stderr
    assert done.ends() == [(1, "completed")]


def test_a_worker_that_never_called_its_base_is_refused_in_one_line(tmp_path: Path, order: Order):
    (tmp_path / "worker.py").write_text(
        "import mcai_worker_sdk as mcai\n"
        "class W(mcai.Worker):\n"
        "    def __init__(self, model): self.model = model\n"
        "    def process(self, channel, parameters, job_id): return {}\n"
        "W('model').start()\n"
    )
    done = run(order(1), folder=tmp_path)

    assert done.exit_code == 1
    assert done.stderr.startswith("The worker cannot start. W was built without its parameters class and description")
    assert "super().__init__(parameters, description)" in done.stderr
    assert "Traceback" not in done.stderr


def test_process_may_run_an_event_loop_of_its_own(order: Order):
    code = """
async def work():
    await asyncio.sleep(0)
    return "/async"
ret = {"destination_paths": [asyncio.run(work())]}"""
    done = run(order(1, code), order(2, code))

    assert [body["destination_paths"] for body in done.responses("Completed")] == [["/async"], ["/async"]]


# Credentials


def test_a_credential_comes_from_the_environment_and_is_masked_in_the_log(order: Order):
    secret = {"id": "token", "type": "string", "store": "env", "value": "MY_TOKEN"}
    code = "logging.error('token %s', p.token)\nassert p.token == 'open-sesame-42'\nraise ValueError(p.token)"
    done = run(order(1, code, secret), MY_TOKEN="open-sesame-42")

    assert "open-sesame-42" not in done.stderr
    assert done.lines("token ***") == [(1, "ERROR")]
    assert done.error_texts()[0].startswith("ValueError: ***\n")


def test_a_credential_that_is_not_there_fails_the_job_and_names_store_and_key(order: Order):
    done = run(order(1, "", {"id": "token", "type": "string", "store": "env", "value": "NO_SUCH_KEY"}))

    (text,) = done.error_texts()
    assert "NO_SUCH_KEY" in text
    assert "env" in text


# Logs


def test_lines_of_a_job_and_of_its_threads_carry_its_id(order: Order):
    code = """
logging.info("from the job")
thread = threading.Thread(target=lambda: logging.getLogger("other").warning("from a thread"))
thread.start(); thread.join()"""
    done = run(order(7, code), order(8, code))

    assert done.lines("from the job") == [(7, "INFO"), (8, "INFO")]
    assert done.lines("from a thread") == [(7, "WARN"), (8, "WARN")]
    assert done.lines("Start to process order") == [(-1, "INFO"), (-1, "INFO")]


def test_json_logs_are_one_object_a_line(order: Order):
    done = run(order(7, "logging.warning('two\\nlines')"), order(8, "raise ValueError('x')"), ONLY_JSON_LOGS="true")
    lines = [json.loads(line) for line in done.stderr.splitlines()]

    assert done.exit_code == 1
    (mine,) = [line for line in lines if line["message"] == "two\nlines"]
    assert (mine["job_id"], mine["level"]) == (7, "WARN")
    assert any("ValueError: x" in (line["exception"] or "") for line in lines)


def test_the_users_own_handlers_and_levels_keep_working(order: Order, tmp_path: Path):
    before = f"""
handler = logging.FileHandler({str(tmp_path / "mine.log")!r})
handler.setFormatter(logging.Formatter("%(levelname)s %(job_id)s %(message)s"))
logging.getLogger().addHandler(handler)
logging.getLogger("noisy").setLevel(logging.ERROR)"""
    code = "logging.getLogger('noisy').warning('noise')\nlogging.warning('mine')"
    done = run(order(7, code), TEST_BEFORE_START=before)

    assert "WARNING 7 mine" in (tmp_path / "mine.log").read_text()
    assert done.lines("mine") == [(7, "WARN")]
    assert done.lines("noise") == []


def test_the_log_level_is_obeyed(order: Order):
    assert run(order(7, "logging.info('quiet'); logging.error('loud')"), MCAI_LOG="ERROR").lines("quiet") == []


# A terminal


class Terminal:
    """A worker on a pseudo-terminal of 160 columns."""

    def __init__(self, *orders: Path, **environment: str) -> None:
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 160, 0, 0))
        self.master = master
        self.process = subprocess.Popen(
            [sys.executable, "worker.py"],
            cwd=FOLDER,
            env={**os.environ, "SOURCE_ORDERS": os.pathsep.join(map(str, orders)), "TERM": "xterm", **environment},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self.output = ""

    def read(self, until: str | None = None) -> str:
        """Read to a text, or to the end."""
        while until is None or until not in self.output:
            try:
                data = os.read(self.master, 1 << 16)
            except OSError:  # How a pseudo-terminal says that its other end is closed.
                break
            if not data:
                break
            self.output += data.decode(errors="replace")
        return self.output

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def make(*orders: Path, **environment: str) -> Terminal:
        opened.append(Terminal(*orders, **environment))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def plain(text: str) -> str:
    """Without the terminal's control sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_on_a_terminal_there_is_a_bar_for_each_order_and_a_table(
    order: Order, terminal: Callable[..., Terminal], tmp_path: Path
):
    absent = tmp_path / "[bold]absent[/nope].json"
    good = order(1, "ch.publish_job_progression(40)\nret = {'destination_paths': ['/out/[red]clip[/x].json']}")
    on_terminal = terminal(good, order(2, "raise ValueError('list[int] [/x] is wrong')"), absent)
    shown = plain(on_terminal.read())

    assert on_terminal.process.wait(30) == 1
    table = shown[shown.index("Source orders") :]
    (first,) = [line for line in table.splitlines() if "order-1.json" in line]
    (second,) = [line for line in table.splitlines() if "order-2.json" in line]
    assert "completed" in first
    assert "/out/[red]clip[/x].json" in first
    assert "error" in second
    assert "ValueError: list[int] [/x] is wrong" in second
    assert "[bold]absent[/nope].json" in table
    assert "not run" in table
    assert re.search(r"order-1\.json .*40%", shown)


def test_on_a_terminal_the_log_has_the_authors_lines_and_no_responses(order: Order, terminal: Callable[..., Terminal]):
    code = "logging.info('half way'); ch.publish_job_progression(50); logging.warning('look out')"
    shown = plain(terminal(order(1, code)).read())

    assert [word for word in ("half way", "look out", "Source orders") if word not in shown] == []
    assert [word for word in ("Feedback", "Completed", "frames/s") if word in shown] == []


def test_on_a_terminal_the_responses_are_there_at_debug(order: Order, terminal: Callable[..., Terminal]):
    shown = plain(terminal(order(1), MCAI_LOG="DEBUG").read())

    assert shown.count('{"Feedback"') == 1
    assert shown.count('{"Completed"') == 1


def test_json_logs_stay_json_on_a_terminal(order: Order, terminal: Callable[..., Terminal]):
    lines = terminal(order(1), ONLY_JSON_LOGS="1").read().splitlines()

    assert lines[-1] == "start() returned"
    assert [json.loads(line)["level"] for line in lines[:-1]]


def test_a_second_ctrl_c_gives_the_terminal_its_cursor_back(order: Order, terminal: Callable[..., Terminal]):
    on_terminal = terminal(order(1, IGNORE_STOP))
    on_terminal.read(until=" 1%")
    on_terminal.process.send_signal(signal.SIGINT)
    on_terminal.read(until="Interrupted")
    on_terminal.process.send_signal(signal.SIGINT)
    shown = on_terminal.read()

    assert on_terminal.process.wait(30) == 128 + signal.SIGINT
    hidden, visible = "\x1b[?25l", "\x1b[?25h"
    assert shown.rindex(visible) > shown.rindex(hidden)


def test_without_a_terminal_nothing_is_drawn(order: Order):
    done = run(order(1))

    assert "\x1b" not in done.stderr
    assert all(LINE.fullmatch(line) for line in done.stderr.splitlines())
