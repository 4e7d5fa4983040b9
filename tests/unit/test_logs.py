"""The log lines: two forms, the job id, the secrets, the way from the job process, and what is left to the user."""

import io
import json
import logging
import re
import subprocess
import sys
import threading
import urllib.parse
from pathlib import Path

import pytest

from mcai_worker_sdk.logs import (
    MOST_SECRETS,
    RelayHandler,
    configure_logging,
    configure_relay,
    current_job,
    emit_relayed,
    mask,
    mask_secret,
    reset_logging,
)

USER = logging.getLogger("user.code")
LINE = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{9}) UTC - (\S+) - (\S+) - (\S+) - ([A-Z]+) - (.*)", re.DOTALL)


@pytest.fixture(autouse=True)
def logging_as_it_was():
    root = logging.getLogger()
    handlers, level, factory = root.handlers[:], root.level, logging.getLogRecordFactory()
    root.setLevel(logging.WARNING)
    yield
    reset_logging()
    current_job.clear()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.setLogRecordFactory(factory)


def without_pytest_s_handlers():
    """pytest adds them after the fixtures have run; some tests are about which handlers there are."""
    root = logging.getLogger()
    root.handlers[:] = [handler for handler in root.handlers if not type(handler).__module__.startswith("_pytest")]


@pytest.fixture
def log():
    """Configured in text form; what was written."""
    stream = io.StringIO()
    configure(stream)
    return stream


def configure(stream, *, level=logging.INFO, only_json=False, file=None):
    configure_logging(
        level=level, only_json=only_json, file=file, instance_id="worker-1", queue="job_test", stream=stream
    )


class Listening(logging.Handler):
    """A user's handler: keeps what it is given."""

    def __init__(self):
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record):
        self.records.append(record)


def test_importing_the_module_changes_nothing():
    script = (
        "import logging, mcai_worker_sdk.logs as logs;"
        "assert logging.getLogger().handlers == [];"
        "assert logging.getLogger().level == logging.WARNING;"
        "assert logging.getLogRecordFactory() is logging.LogRecord"
    )

    subprocess.run([sys.executable, "-c", script], check=True, timeout=50)


def test_a_line_has_time_instance_queue_job_level_and_message(log):
    logging.getLogger("user.module").info("Digest of %s is ready.", "a.mp4")

    line = log.getvalue()
    assert line.endswith("\n")
    match = LINE.fullmatch(line.rstrip("\n"))
    assert match is not None
    assert match.groups()[1:] == ("worker-1", "job_test", "-1", "INFO", "Digest of a.mp4 is ready.")


def test_the_time_is_that_of_the_record_in_utc(log):
    without_pytest_s_handlers()
    record = logging.makeLogRecord({"levelno": logging.INFO, "msg": "then", "created": 1700000000.25})

    logging.getLogger().handle(record)

    assert log.getvalue().startswith("2023-11-14 22:13:20.250000000 UTC - ")


@pytest.mark.parametrize(
    ("level", "word"),
    [
        (logging.DEBUG, "DEBUG"),
        (5, "DEBUG"),
        (logging.INFO, "INFO"),
        (25, "INFO"),
        (logging.WARNING, "WARN"),
        (logging.ERROR, "ERROR"),
        (logging.CRITICAL, "ERROR"),
    ],
)
def test_levels_are_shown_in_four_words(level, word):
    stream = io.StringIO()
    configure(stream, level=1)

    USER.log(level, "text")

    assert f" - {word} - text\n" in stream.getvalue()


def test_a_traceback_follows_its_line(log):
    try:
        raise ValueError("no such stream")
    except ValueError:
        USER.exception("The job failed.")

    line, *traceback = log.getvalue().splitlines()
    assert line.endswith(" - ERROR - The job failed.")
    assert traceback[0] == "Traceback (most recent call last):"
    assert traceback[-1] == "ValueError: no such stream"


def test_a_stack_follows_its_line_when_asked_for(log):
    USER.warning("Where am I?", stack_info=True)

    assert "Stack (most recent call last):" in log.getvalue()
    assert "test_a_stack_follows_its_line_when_asked_for" in log.getvalue()


def test_exception_without_an_exception_adds_no_lines(log):
    USER.error("nothing", exc_info=(None, None, None))

    assert len(log.getvalue().splitlines()) == 1


def test_json_lines_are_objects_with_all_the_fields():
    stream = io.StringIO()
    configure(stream, only_json=True)
    current_job.set(42)

    logging.getLogger("user").info("données\n☃ %d", 7)
    try:
        raise KeyError("x")
    except KeyError:
        logging.getLogger("user").exception("failed")

    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", first.pop("time"))
    assert first == {
        "level": "INFO",
        "instance_id": "worker-1",
        "queue": "job_test",
        "job_id": 42,
        "logger": "user",
        "message": "données\n☃ 7",
        "exception": None,
    }
    assert second["exception"].startswith("Traceback")
    assert second["exception"].endswith("KeyError: 'x'")


def test_the_same_lines_go_to_the_file(tmp_path, log):
    path = tmp_path / "worker.log"
    path.write_text("before\n")
    configure(log, file=path)

    USER.info("données \udc80")

    assert path.read_text(encoding="utf-8").splitlines()[0] == "before"
    assert path.read_text(encoding="utf-8").splitlines()[1].endswith(" - INFO - données \\udc80")


def test_lines_go_to_standard_error_as_it_is_when_they_are_written(monkeypatch):
    configure(None)
    wrapped = io.StringIO()
    monkeypatch.setattr(sys, "stderr", wrapped)

    USER.info("beside the progress bar")

    assert wrapped.getvalue().endswith("beside the progress bar\n")


def test_configuring_twice_writes_each_line_once(tmp_path):
    old, new = io.StringIO(), io.StringIO()
    configure(old, file=tmp_path / "old.log")
    configure(new, file=tmp_path / "new.log")

    USER.info("once")

    assert (old.getvalue(), (tmp_path / "old.log").read_text()) == ("", "")
    assert len(new.getvalue().splitlines()) == len((tmp_path / "new.log").read_text().splitlines()) == 1


def test_the_level_decides_what_is_written(log):
    USER.debug("hidden")
    USER.info("shown")
    configure(log, level=logging.ERROR)
    USER.warning("hidden")
    USER.error("shown")

    assert [line.split(" - ")[-1] for line in log.getvalue().splitlines()] == ["shown", "shown"]


def test_a_level_the_user_set_before_the_start_stays():
    stream = io.StringIO()
    logging.getLogger().setLevel(logging.DEBUG)
    configure(stream)

    USER.debug("shown")

    assert "shown" in stream.getvalue()


def test_a_level_the_user_sets_after_the_start_counts(log):
    logging.getLogger("noisy").setLevel(logging.ERROR)
    logging.getLogger("curious").setLevel(logging.DEBUG)

    logging.getLogger("noisy").warning("hidden")
    logging.getLogger("curious").debug("shown")

    assert [line.split(" - ")[-1] for line in log.getvalue().splitlines()] == ["shown"]


def test_a_user_s_handler_keeps_working_and_sees_the_job_id():
    without_pytest_s_handlers()
    listening = Listening()
    formatted = io.StringIO()
    plain = logging.StreamHandler(formatted)
    plain.setFormatter(logging.Formatter("%(job_id)s %(message)s"))
    logging.getLogger().addHandler(listening)
    logging.getLogger("user").addHandler(plain)
    configure(io.StringIO())
    current_job.set(7)

    logging.getLogger("user").info("mine")

    assert [record.job_id for record in listening.records] == [7]
    assert formatted.getvalue() == "7 mine\n"
    assert logging.getLogger().handlers[0] is listening
    logging.getLogger("user").removeHandler(plain)


def test_the_job_id_is_on_records_of_the_job_s_threads(log):
    current_job.set(9)
    thread = threading.Thread(target=USER.info, args=("from a thread",))
    thread.start()
    thread.join()
    current_job.clear()
    USER.info("after the job")

    assert [line.split(" - ")[3] for line in log.getvalue().splitlines()] == ["9", "-1"]


def test_a_log_call_may_name_its_job_itself(log):
    current_job.set(9)

    USER.info("foreign", extra={"job_id": 10})
    USER.info("own", extra={"other": 1})

    assert [line.split(" - ")[3] for line in log.getvalue().splitlines()] == ["10", "9"]


def test_a_record_factory_that_was_there_goes_on_working():
    def with_host(*args, **kwargs):
        record = logging.LogRecord(*args, **kwargs)
        record.host = "render-1"
        return record

    logging.setLogRecordFactory(with_host)
    listening = Listening()
    logging.getLogger().addHandler(listening)
    configure(io.StringIO())

    USER.info("text")

    assert (listening.records[0].host, listening.records[0].job_id) == ("render-1", -1)
    reset_logging()
    assert logging.getLogRecordFactory() is with_host


def test_a_record_factory_set_around_ours_keeps_extra_working(log):
    ours = logging.getLogRecordFactory()

    def around(*args, **kwargs):
        return ours(*args, **kwargs)

    logging.setLogRecordFactory(around)

    USER.info("text", extra={"job_id": 3})
    configure(log)
    USER.info("text", extra={"job_id": 4})

    assert [line.split(" - ")[3] for line in log.getvalue().splitlines()] == ["3", "4"]


def test_a_record_without_job_id_belongs_to_no_job(log):
    record = logging.LogRecord("by.hand", logging.INFO, __file__, 1, "text", None, None)

    logging.getLogger().handle(record)

    assert " - -1 - INFO - text" in log.getvalue()


def test_secrets_are_masked_in_messages_arguments_and_tracebacks(log):
    mask_secret("hunter2-masked")

    USER.info("in the message hunter2-masked")
    USER.info("in %s", {"an argument": "hunter2-masked"})
    try:
        raise ValueError("in a traceback hunter2-masked")
    except ValueError:
        USER.exception("failed")

    assert "hunter2" not in log.getvalue()
    assert log.getvalue().count("***") >= 3


def test_a_secret_reaches_no_handler_of_the_user_s(log):
    formatted = io.StringIO()
    plain = logging.StreamHandler(formatted)
    plain.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("user.of.its.own")
    logger.addHandler(plain)
    logger.propagate = False
    mask_secret("hunter3-masked")

    try:
        logger.warning("in %s", {"an argument": "hunter3-masked"}, stack_info=True)
        logger.warning("%d left %s", 7, "alone")
        try:
            raise ValueError("in a traceback hunter3-masked")
        except ValueError:
            logger.exception("failed")
    finally:
        logger.removeHandler(plain)
        logger.propagate = True

    assert "hunter3" not in formatted.getvalue()
    assert "in {'an argument': '***'}\nStack" in formatted.getvalue()
    assert "7 left alone\nfailed\nTraceback" in formatted.getvalue()
    assert formatted.getvalue().endswith("ValueError: in a traceback ***\n")


@pytest.mark.parametrize("setup", ["logging.info('early')", "logging.basicConfig(level=logging.INFO)"])
@pytest.mark.parametrize("configure", ["configure_logging", "configure_relay"])
def test_what_python_sets_up_by_itself_writes_no_line_twice(setup, configure):
    script = f"""
import logging
from mcai_worker_sdk.logs import configure_logging, configure_relay
{setup}
if "{configure}" == "configure_logging":
    configure_logging(level=logging.INFO, only_json=False, file=None, instance_id="i", queue="q")
else:
    configure_relay(logging.INFO, print)
logging.warning("once")
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)

    assert (ended.stdout + ended.stderr).count("once") == 1


@pytest.mark.parametrize("made", ["basicConfig(format='mine %(message)s')", "basicConfig(filename='mine.log')"])
def test_a_handler_the_user_asked_for_stays(made, tmp_path):
    script = f"""
import logging
from mcai_worker_sdk.logs import configure_logging
logging.{made}
handler, = logging.getLogger().handlers
configure_logging(level=logging.INFO, only_json=False, file=None, instance_id="i", queue="q")
print(handler in logging.getLogger().handlers)
"""
    command = [sys.executable, "-c", script]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path)

    assert ended.stdout == "True\n"


@pytest.mark.parametrize("only_json", [False, True])
@pytest.mark.parametrize(
    "secret", ['quo"te\\back', "two\nlines of it", "clé-ß☃😀", "a b&c=d/e?f#g%h", "trailing-newline\n"]
)
def test_a_secret_is_masked_in_every_spelling(only_json, secret):
    stream = io.StringIO()
    configure(stream, only_json=only_json)
    mask_secret(secret)
    spellings = {
        "plain": secret,
        "stripped": secret.strip(),
        "repr": repr(secret),
        "json": json.dumps({"password": secret}),
        "url": f"amqp://me:{urllib.parse.quote(secret, safe='')}@broker",
        "form": urllib.parse.urlencode({"password": secret}),
    }

    for name, spelling in spellings.items():
        USER.info("%s: %s", name, spelling)

    assert stream.getvalue().count("***") == len(spellings)
    parts = [part for part in re.split(r"\W+", secret) if len(part) > 3]
    assert [part for part in parts if part in stream.getvalue()] == []


def test_of_two_secrets_the_longer_is_masked_first():
    mask_secret("inner-word")
    mask_secret("inner-word-and-more")

    assert mask("inner-word-and-more, inner-word") == "***, ***"


@pytest.mark.parametrize("secret", ["", "   ", "42", "abc", "a  "])
def test_a_secret_too_short_to_tell_from_text_is_left_alone(secret):
    mask_secret(secret)

    assert mask("a job 42 with abc    ") == "a job 42 with abc    "


def test_the_newest_secrets_are_kept():
    mask_secret("the-oldest-secret")
    for number in range(MOST_SECRETS):
        mask_secret(f"session-token-{number:04}")

    assert mask("session-token-0000 session-token-0999") == "*** ***"
    assert mask("the-oldest-secret") == "the-oldest-secret"


def test_arguments_that_do_not_fit_are_no_reason_to_lose_the_line(log):
    without_pytest_s_handlers()

    class Unspeakable:
        def __str__(self):
            raise RuntimeError("no")

    USER.info("%d files", "three")
    USER.info("%s %s", *["one"])
    USER.info("%s", Unspeakable())
    USER.info(Unspeakable())

    assert [line.split(" - ")[-1] for line in log.getvalue().splitlines()] == [
        "%d files (its arguments do not fit: TypeError)",
        "%s %s (its arguments do not fit: TypeError)",
        "%s (its arguments do not fit: RuntimeError)",
        "Unspeakable (its arguments do not fit: RuntimeError)",
    ]


def test_a_stream_that_is_gone_fails_no_log_call_and_shows_no_secret(monkeypatch):
    class Gone(io.StringIO):
        def write(self, text):
            raise OSError("gone with the-secret-of-gone")

    mask_secret("the-secret-of-gone")
    errors = io.StringIO()
    configure(Gone())
    monkeypatch.setattr(sys, "stderr", errors)

    USER.info("lost the-secret-of-gone")

    assert errors.getvalue().startswith("A log line of user.code could not be written. Traceback")
    assert "the-secret-of-gone" not in errors.getvalue()


def test_standard_error_that_is_gone_fails_no_log_call(monkeypatch):
    configure(None)
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    USER.info("lost")
    monkeypatch.setattr(sys, "stderr", None)
    USER.info("lost")


def test_a_record_crosses_to_the_supervisor_and_is_written_as_it_was_made():
    sent: list[str] = []
    configure_relay(logging.INFO, lambda record: sent.append(json.dumps(record)))
    current_job.set(11)
    mask_secret("relayed-secret")
    try:
        raise ValueError("with relayed-secret")
    except ValueError:
        logging.getLogger("user.code").exception("failed with %s", "relayed-secret")
    current_job.clear()
    record = json.loads(sent[0])
    stream = io.StringIO()
    configure(stream, only_json=True)

    emit_relayed({**record, "created": 1.5})

    line = json.loads(stream.getvalue())
    assert line["exception"].endswith("ValueError: with ***")
    del line["exception"]
    assert line == {
        "time": "1970-01-01T00:00:01.500000000Z",
        "level": "ERROR",
        "instance_id": "worker-1",
        "queue": "job_test",
        "job_id": 11,
        "logger": "user.code",
        "message": "failed with ***",
    }


def test_a_relayed_record_is_formatted_and_has_nothing_but_json_values():
    sent: list[dict] = []
    configure_relay(logging.INFO, sent.append)

    logging.getLogger("user").warning("%s of %s", Path("a"), {1})

    created = sent[0].pop("created")
    assert created == pytest.approx(logging.makeLogRecord({}).created, abs=60)
    assert sent == [
        {"level": logging.WARNING, "logger": "user", "message": "a of {1}", "exception": None, "job_id": -1}
    ]


def test_a_relayed_line_is_written_whatever_the_supervisor_s_level_and_not_to_user_handlers(log):
    listening = Listening()
    logging.getLogger().addHandler(listening)
    record = {
        "level": logging.DEBUG,
        "logger": "user",
        "message": "100 %",
        "exception": None,
        "job_id": 1,
        "created": 1.0,
    }

    emit_relayed(record)

    assert log.getvalue().endswith(" - 1 - DEBUG - 100 %\n")
    assert listening.records == []


def test_a_relayed_line_is_not_lost_where_logging_is_not_configured():
    listening = Listening()
    logging.getLogger().addHandler(listening)

    emit_relayed(
        {"level": logging.ERROR, "logger": "user", "message": "text", "exception": None, "job_id": 1, "created": 1.0}
    )

    assert [record.getMessage() for record in listening.records] == ["text"]


def test_the_relay_takes_the_place_of_inherited_handlers_and_leaves_the_user_s(tmp_path, log):
    without_pytest_s_handlers()
    listening = Listening()
    logging.getLogger().addHandler(listening)
    configure(log, file=tmp_path / "worker.log")
    sent: list[dict] = []

    configure_relay(logging.DEBUG, sent.append)
    USER.debug("text")

    assert (log.getvalue(), (tmp_path / "worker.log").read_text()) == ("", "")
    assert [record["message"] for record in sent] == [record.getMessage() for record in listening.records] == ["text"]
    assert [type(handler) for handler in logging.getLogger().handlers] == [Listening, RelayHandler]


def test_what_sending_itself_logs_is_not_sent_again():
    sent: list[dict] = []

    def send(record):
        USER.info("sending")
        sent.append(record)

    configure_relay(logging.INFO, send)
    USER.info("first")
    USER.info("second")

    assert [record["message"] for record in sent] == ["first", "second"]


def test_a_link_that_is_gone_fails_no_log_call(monkeypatch):
    def send(record):
        raise BrokenPipeError("the supervisor is gone")

    errors = io.StringIO()
    monkeypatch.setattr(sys, "stderr", errors)
    configure_relay(logging.INFO, send)

    USER.info("lost")
    USER.info("lost too")

    assert errors.getvalue().count("BrokenPipeError: the supervisor is gone") == 2


def test_resetting_leaves_logging_as_it_was(tmp_path):
    without_pytest_s_handlers()
    listening = Listening()
    logging.getLogger().addHandler(listening)
    configure(io.StringIO(), level=logging.DEBUG, file=tmp_path / "worker.log")

    reset_logging()

    assert logging.getLogger().handlers == [listening]
    assert logging.getLogger().level == logging.WARNING
    assert logging.getLogRecordFactory() is logging.LogRecord
