"""What ``Worker.start()`` does: read the settings, then describe, run local orders, or serve the broker."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import sys
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mcai_worker_sdk.errors import ConfigurationError, HostError, WorkerDefinitionError
from mcai_worker_sdk.host.base import Host, HostLimits, WorkerSetup
from mcai_worker_sdk.host.job_process import JOB_PROCESS_NAME, ProcessPlan
from mcai_worker_sdk.host.process import ProcessHost
from mcai_worker_sdk.logs import configure_logging, mask_secret
from mcai_worker_sdk.settings import Settings
from mcai_worker_sdk.supervisor.identity import worker_identity
from mcai_worker_sdk.versions import check_versions

if TYPE_CHECKING:
    from mcai_worker_sdk.worker import Worker

__all__ = ["start_worker"]

_logger = logging.getLogger(__name__)


def start_worker(worker: Worker) -> None:
    """
    Run a worker until its end.

    Raises:
        SystemExit: It could not start, its setup failed, a source order failed or it was ended with an error.
    """
    if multiprocessing.current_process().name == JOB_PROCESS_NAME:
        # A spawned job process imports the worker's script, and one without `if __name__ == "__main__":` comes here.
        return
    try:
        check_versions()
        if worker._is_media:
            check_versions("media")
        settings = Settings.load()
        identity = _identity(settings, worker)
        if settings.describe:
            _describe(identity)
            return
        _configure_logging(settings, identity)
    except ConfigurationError as error:
        # Nothing is logged yet: the one line goes where the log would.
        sys.exit(f"The worker cannot start. {error}")
    _logger.info(
        "Worker: %s, version: %s (MCAI Worker SDK %s)", identity["name"], identity["version"], identity["sdk_version"]
    )
    for warning in [*worker._description.warnings(), *worker._model.warnings, *settings.warnings()]:
        _logger.warning("%s", warning)
    setup = WorkerSetup(worker, worker._parameters, settings, worker._is_media)
    exit_code = _run_local(setup, identity) if settings.source_orders else _serve(setup, identity)
    _logger.info("The worker has ended with exit code %d.", exit_code)
    if exit_code != 0:
        sys.exit(exit_code)


def _identity(settings: Settings, worker: Worker) -> dict[str, Any]:
    if not hasattr(worker, "_model"):
        raise WorkerDefinitionError(
            f"{type(worker).__name__} was built without its parameters class and description; expected its __init__ "
            "to call super().__init__(parameters, description)."
        )
    return worker_identity(settings, worker._description, worker._model.json_schema)


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


def _configure_logging(settings: Settings, identity: Mapping[str, Any]) -> None:
    configure_logging(
        level=settings.log.level,
        only_json=settings.log.only_json,
        file=settings.log.file,
        instance_id=identity["instance_id"],
        queue=settings.amqp.queue,
    )
    for secret in settings.secrets():
        mask_secret(secret)


def _run_local(setup: WorkerSetup, identity: Mapping[str, Any]) -> int:
    # Here, not at the top: a worker behind a broker needs none of it.
    from mcai_worker_sdk.supervisor.local import run_local

    return run_local(setup, identity)


def _serve(setup: WorkerSetup, identity: Mapping[str, Any]) -> int:
    if threading.current_thread() is not threading.main_thread():
        _logger.error("The worker cannot start: start() was called in a thread; expected the main thread, for signals.")
        return 1
    if warning := setup.settings.unset_queue():
        _logger.warning("%s", warning)
    host = _make_host(setup)
    try:
        host.launch()
    except HostError as error:
        _logger.error("The worker cannot start: %s", error)
        return 1
    try:
        # Here, not at the top: the job process is on its way, and each of the two loads its own libraries meanwhile.
        from mcai_worker_sdk.supervisor.serve import serve

        exit_code = serve(setup, identity, host)
    except BaseException:
        # A broken installation, Ctrl-C while the libraries load: there was no event loop to close the host on.
        host.abandon()
        raise
    host.leave(exit_code)
    return exit_code


def _make_host(setup: WorkerSetup) -> Host:
    settings = setup.settings
    limits = HostLimits(
        job_timeout_seconds=settings.job.timeout_seconds,
        stop_grace_seconds=settings.job.stop_grace_seconds,
        max_jobs_per_process=settings.job.max_jobs_per_process,
        max_rss_mb=settings.job.max_rss_mb_per_process,
    )
    if settings.job.isolation == "thread":
        # Here, not at the top: what runs jobs is loaded in the supervisor only where it runs them.
        from mcai_worker_sdk.host.thread import ThreadHost

        return ThreadHost(setup, limits)
    return ProcessHost(ProcessPlan(setup, settings.log.level, os.getpid()), limits)
