"""What ``Worker.start()`` does: read the settings, then describe, run local orders, or serve the broker."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from mcai_worker_sdk.errors import ConfigurationError, HostError, WorkerDefinitionError
from mcai_worker_sdk.exchange.rabbitmq.exchange import RabbitMQExchange
from mcai_worker_sdk.host.base import Host, HostLimits
from mcai_worker_sdk.host.job_process import ProcessPlan
from mcai_worker_sdk.host.process import ProcessHost
from mcai_worker_sdk.host.runner import WorkerSetup
from mcai_worker_sdk.host.thread import ThreadHost
from mcai_worker_sdk.lifecycle.engine import LifecycleOptions
from mcai_worker_sdk.lifecycle.events import Event
from mcai_worker_sdk.logs import configure_logging, mask_secret
from mcai_worker_sdk.services.system_info import SystemSampler
from mcai_worker_sdk.settings import Settings
from mcai_worker_sdk.supervisor.broker import BrokerSupervisor
from mcai_worker_sdk.supervisor.identity import utc_now, worker_identity
from mcai_worker_sdk.supervisor.local import LocalSupervisor
from mcai_worker_sdk.supervisor.presentation import make_presentation

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
    try:
        settings = Settings.load()
    except ConfigurationError as error:
        sys.exit(f"The worker cannot start. {error}")
    if not hasattr(worker, "_model"):
        raise WorkerDefinitionError(
            f"{type(worker).__name__}.__init__ does not call super().__init__(parameters, description); expected it to."
        )
    identity = worker_identity(settings, worker._description, worker._model.json_schema)
    if settings.describe:
        print(json.dumps(identity, indent=2, ensure_ascii=False))  # noqa: T201 - DESCRIBE's very purpose
        return
    configure_logging(
        level=settings.log.level,
        only_json=settings.log.only_json,
        file=settings.log.file,
        instance_id=identity["instance_id"],
        queue=settings.amqp.queue,
    )
    for secret in (settings.amqp.password, settings.backend.password):
        mask_secret(secret.get_secret_value())
    _logger.info(
        "Worker: %s, version: %s (MCAI Worker SDK %s)", identity["name"], identity["version"], identity["sdk_version"]
    )
    setup = WorkerSetup(worker, worker._parameters, settings, worker._is_media)
    succeeded = _run_local(setup, identity) if settings.source_orders else _serve(setup, identity)
    if not succeeded:
        sys.exit(1)


def _run_local(setup: WorkerSetup, identity: dict[str, object]) -> bool:
    sampler = SystemSampler()
    sampler.sample()
    return LocalSupervisor(setup, identity, sampler, make_presentation()).run(setup.settings.source_orders)


def _serve(setup: WorkerSetup, identity: dict[str, object]) -> bool:
    settings = setup.settings
    limits = HostLimits(
        job_timeout_seconds=settings.job.timeout_seconds,
        stop_grace_seconds=settings.job.stop_grace_seconds,
        max_jobs_per_process=settings.job.max_jobs_per_process,
        max_rss_mb=settings.job.max_rss_mb_per_process,
    )

    def make_host(on_event: Callable[[Event], None]) -> Host:
        if settings.job.isolation == "thread":
            return ThreadHost(setup, limits, on_event)
        return ProcessHost(ProcessPlan(setup, settings.log.level, os.getpid()), limits, on_event)

    options = LifecycleOptions(
        attempts_limit=settings.job.ttl_limit,
        soft_rejects_limit=settings.job.soft_limit,
        max_jobs=settings.job.max_jobs,
        announces_start=setup.is_media,
    )
    exchange = RabbitMQExchange(settings.amqp, identity=identity, now=utc_now)
    try:
        return BrokerSupervisor(settings, identity, exchange, make_host, options).run() == 0
    except (ConfigurationError, HostError) as error:
        _logger.error("The worker cannot start: %s", error)
        return False
