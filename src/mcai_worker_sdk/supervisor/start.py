"""
What ``Worker.start()`` does: read the settings, then describe, run local orders, or serve the broker.

Where the supervisor runs the worker's script again for a job process, it turns that process into it. In other processes
that come to it below a worker, such as those of a pool in a job, it does nothing.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from mcai_worker_sdk.errors import ConfigurationError, HostError
from mcai_worker_sdk.host.port import Host
from mcai_worker_sdk.host.process.host import ProcessHost
from mcai_worker_sdk.host.process.job_process import ProcessPlan, run_job_process
from mcai_worker_sdk.host.process.program import WorkerProgram, worker_program
from mcai_worker_sdk.job.copies import keep_signals_for_copies
from mcai_worker_sdk.job.definition import WorkerDefinition
from mcai_worker_sdk.launch import LAUNCH, GivenLink
from mcai_worker_sdk.logs import configure_logging, get_logger, mask_secret
from mcai_worker_sdk.settings import Settings
from mcai_worker_sdk.supervisor.identity import worker_identity
from mcai_worker_sdk.supervisor.presentation import OrderPresentation
from mcai_worker_sdk.versions import check_versions

__all__ = ["run_orders", "start_worker"]

_logger = get_logger(__name__)


class _Starts:
    """What the process knows of its calls of ``start()``."""

    def __init__(self) -> None:
        self.count = 0
        self.running_pid: int | None = None
        """The process in which one runs: this one, or one that this one is a copy of."""


_starts = _Starts()


def start_worker(definition: WorkerDefinition) -> None:
    """
    Run a worker until its end.

    Raises:
        SystemExit: It could not start, its setup failed, a source order failed or it was ended with an error.
    """
    if reason := _why_not_here():
        _logger.debug("start() does nothing here: %s.", reason)
        return
    _starts.count += 1
    if LAUNCH.given_link is not None and _starts.count != LAUNCH.given_link.start_number:
        _logger.debug("start() does nothing here: this worker of the script had ended before the job process began.")
        return
    _starts.running_pid = os.getpid()
    try:
        if LAUNCH.given_link is None:
            _start(definition)
        else:
            _be_job_process(definition, LAUNCH.given_link)
    finally:
        _starts.running_pid = None


def _why_not_here() -> str | None:
    """Why this process is no place for a worker, in words."""
    if LAUNCH.is_below_job_process or (LAUNCH.given_link is not None and LAUNCH.pid != os.getpid()):
        return "the script started this process on its way to the job process"
    if _starts.running_pid not in {None, os.getpid()}:
        return "this process was forked from one that runs a worker"
    # Not imported for this: a child of multiprocessing has it loaded.
    multiprocessing = sys.modules.get("multiprocessing.process")
    if multiprocessing is not None and getattr(multiprocessing.current_process(), "_inheriting", False):
        return "a child process of multiprocessing imports the worker's script"
    return None


def _be_job_process(definition: WorkerDefinition, given: GivenLink) -> NoReturn:
    job_end = socket.socket(fileno=given.descriptor)
    try:
        settings = Settings.load()
    except ConfigurationError as error:
        sys.exit(f"The job process cannot start. {error}")
    run_job_process(ProcessPlan(definition, settings, given.supervisor_pid), job_end, is_fork=False)


def run_orders(
    definition: WorkerDefinition, orders: Sequence[Path], presentation: OrderPresentation, *, level: int | None = None
) -> int:
    """
    Run local orders as ``SOURCE_ORDERS`` has them run, for a command.

    Args:
        definition: The worker.
        orders: Order files, in order.
        presentation: Shows orders and their progression.
        level: Level of the log; ``None`` for that of the environment.

    Returns:
        The exit code.

    Raises:
        ConfigurationError: The worker could not start.
    """
    # Here, not at the top: see _run_local.
    from mcai_worker_sdk.supervisor.local import run_local

    settings = _settings_for(definition).model_copy(update={"source_orders": tuple(orders)})
    identity = worker_identity(settings, definition.description, definition.model.json_schema)
    _configure_logging(settings, identity, level)
    _greet(definition, settings, identity)
    return run_local(definition, settings, identity, presentation)


def _settings_for(definition: WorkerDefinition) -> Settings:
    check_versions()
    if definition.is_media:
        check_versions("media")
    return Settings.load()


def _greet(definition: WorkerDefinition, settings: Settings, identity: Mapping[str, Any]) -> None:
    _logger.info(
        "Worker: %s, version: %s (MCAI Worker SDK %s)", identity["name"], identity["version"], identity["sdk_version"]
    )
    for warning in [*definition.description.warnings(), *definition.model.warnings, *settings.warnings()]:
        _logger.warning("%s", warning)


def _start(definition: WorkerDefinition) -> None:
    _occupy_standard_descriptors()
    keep_signals_for_copies()
    try:
        settings = _settings_for(definition)
        identity = worker_identity(settings, definition.description, definition.model.json_schema)
        if settings.describe:
            _describe(identity)
            return
        _configure_logging(settings, identity)
    except ConfigurationError as error:
        # Nothing is logged yet: the one line goes where the log would.
        sys.exit(f"The worker cannot start. {error}")
    _greet(definition, settings, identity)
    run = _run_local if settings.source_orders else _serve
    exit_code = run(definition, settings, identity)
    _logger.info("The worker has ended with exit code %d.", exit_code)
    if exit_code != 0:
        sys.exit(exit_code)


def _occupy_standard_descriptors() -> None:
    """Open those that are closed: a socket that got such a number would be written to by whatever prints."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest number that is free is taken, so it is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _describe(identity: Mapping[str, Any]) -> None:
    """JSON is UTF-8, whatever the locale or ``PYTHONIOENCODING`` says of texts."""
    text = json.dumps(identity, indent=2, ensure_ascii=False) + "\n"
    binary = getattr(sys.stdout, "buffer", None)
    if binary is None:
        sys.stdout.write(text)
        return
    sys.stdout.flush()
    binary.write(text.encode("utf-8", errors="backslashreplace"))
    binary.flush()


def _configure_logging(settings: Settings, identity: Mapping[str, Any], level: int | None = None) -> None:
    configure_logging(
        level=settings.log.level if level is None else level,
        only_json=settings.log.only_json,
        file=settings.log.file,
        instance_id=identity["instance_id"],
        queue=settings.amqp.queue,
    )
    for secret in settings.secrets():
        mask_secret(secret)


def _run_local(definition: WorkerDefinition, settings: Settings, identity: Mapping[str, Any]) -> int:
    # Here, not at the top: a worker behind a broker needs none of it.
    from mcai_worker_sdk.supervisor.local import run_local

    return run_local(definition, settings, identity)


def _serve(definition: WorkerDefinition, settings: Settings, identity: Mapping[str, Any]) -> int:
    if threading.current_thread() is not threading.main_thread():
        _logger.error("The worker cannot start: start() was called in a thread; expected the main thread, for signals.")
        return 1
    if _is_inside_event_loop():
        _logger.error(
            "The worker cannot start: start() was called inside a running event loop; expected outside of one. Call it "
            "from the script itself, not from a coroutine."
        )
        return 1
    if warning := settings.unset_queue():
        _logger.warning("%s", warning)
    host = _make_host(definition, settings)
    try:
        host.launch()
    except HostError as error:
        _logger.error("The worker cannot start: %s", error)
        return 1
    try:
        # Here, not at the top: the job process is on its way, and each of the two loads its own libraries meanwhile.
        from mcai_worker_sdk.supervisor.serve import serve

        exit_code = serve(definition, settings, identity, host)
    except BaseException:
        # A broken installation, Ctrl-C while the libraries load: there was no event loop to close the host on.
        host.abandon()
        raise
    host.leave(exit_code)
    return exit_code


def _is_inside_event_loop() -> bool:
    # Not imported for this: where nobody has imported it, no loop of it runs.
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _make_host(definition: WorkerDefinition, settings: Settings) -> Host:
    if settings.job.isolation == "thread":
        # Here, not at the top: what runs jobs is loaded in the supervisor only where it runs them.
        from mcai_worker_sdk.host.thread import ThreadHost

        return ThreadHost(definition, settings)
    program: WorkerProgram | HostError
    try:
        program = worker_program(_starts.count)
    except HostError as error:
        program = error
    return ProcessHost(ProcessPlan(definition, settings, os.getpid()), program)
