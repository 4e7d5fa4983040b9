"""
Every environment variable the SDK reads, as one typed, frozen object; nothing else reads ``os.environ``.

A variable that is unset and one that is empty mean the same: the default. One table of the documentation is one model
here, one row is one field, so that ``documentation`` can write the tables and nobody has to keep them in step.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    model_validator,
)

from mcai_worker_sdk.errors import SettingsError
from mcai_worker_sdk.settings import kinds
from mcai_worker_sdk.settings.near_misses import near_misses
from mcai_worker_sdk.settings.proxies import Proxies
from mcai_worker_sdk.settings.words import problem, variables_of, without_user

__all__ = [
    "AmqpSettings",
    "BackendSettings",
    "HttpSettings",
    "JobSettings",
    "LogSettings",
    "MediaSettings",
    "ProxySettings",
    "Settings",
    "StoreSettings",
    "Table",
    "tables",
]


def _variable(name: str, default: object, description: str, *, fallback: str = "", shown: str | None = None) -> Any:
    """
    A field read from one environment variable.

    Args:
        name: The variable.
        default: The value when it is unset or empty.
        description: What it is for, as the documentation says it.
        fallback: A second variable, read when the first one is unset.
        shown: The default in words, where ``default`` itself does not say it.
    """
    return Field(
        default,
        validation_alias=AliasChoices(name, fallback) if fallback else name,
        description=description,
        json_schema_extra={"shown": shown},
    )


class Table(BaseModel):
    """One table of variables. May also be built by field names. Built on first use, to keep the import short."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, hide_input_in_errors=True, defer_build=True
    )

    title: ClassVar[str]

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, without_user(value) if isinstance(value, str) else value


class LogSettings(Table):
    """How the worker logs."""

    title = "Logging"

    level: kinds.Level = _variable("MCAI_LOG", logging.INFO, "Log level of the worker.", shown="INFO")
    rust_log: Annotated[str | None, kinds.Allowed("as MCAI_LOG, or trace, which means DEBUG")] = _variable(
        "RUST_LOG", None, "Log level when MCAI_LOG is unset. Filters for single modules are not read and mean INFO."
    )
    only_json: kinds.Switch = _variable("ONLY_JSON_LOGS", False, "Write each log line as one JSON object.")
    file: Annotated[Path | None, kinds.Allowed("the path of a file")] = _variable(
        "FILE_LOGGING", None, "Append the log lines to this file as well."
    )

    @model_validator(mode="before")
    @classmethod
    def _fall_back_to_rust_log(cls, values: Any) -> Any:
        if isinstance(values, dict) and "RUST_LOG" in values and "MCAI_LOG" not in values:
            return {**values, "MCAI_LOG": kinds.RUST_LEVELS.get(values["RUST_LOG"].strip().upper(), logging.INFO)}
        return values


class AmqpSettings(Table):
    """Where the broker is and how to talk to it."""

    title = "AMQP connection"

    hostname: kinds.Host = _variable("AMQP_HOSTNAME", "localhost", "IP or host of the AMQP server.")
    port: kinds.UpTo65535 = _variable(
        "AMQP_PORT",
        5672,
        "Port of the AMQP server. The default is the same with TLS, whose usual port 5671 must be set.",
    )
    tls: kinds.Switch = _variable("AMQP_TLS", False, "Enable a secure connection with AMQPS.")
    tls_cert: kinds.Certificates = _variable(
        "AMQP_TLS_CERT", None, "Certificates of authorities to trust besides those of the system."
    )
    tls_verify: kinds.Switch = _variable(
        "AMQP_TLS_VERIFY", True, "Verify the server's certificate and host name; off, the worker warns at each start."
    )
    username: kinds.Text = _variable("AMQP_USERNAME", "guest", "User name at the AMQP server.")
    password: kinds.Secret = _variable(
        "AMQP_PASSWORD", SecretStr("guest"), "Password at the AMQP server.", shown="guest"
    )
    vhost: kinds.Text = _variable("AMQP_VHOST", "/", "AMQP virtual host.", fallback="AMQP_VIRTUAL_HOST")
    queue: kinds.Text = _variable("AMQP_QUEUE", "job_undefined", "AMQP queue that job orders are taken from.")
    delivery_mode: kinds.DeliveryMode = _variable(
        "AMQP_DELIVERY_MODE", 2, "AMQP delivery mode: 2 for persistent, 1 for transient."
    )
    server_configuration: kinds.Queues = _variable(
        "AMQP_SERVER_CONFIGURATION",
        "standalone",
        "RabbitMQ with classic queues (standalone) or quorum queues (cluster).",
    )
    consumer_timeout_ms: kinds.Limit = _variable(
        "AMQP_CONSUMER_TIMEOUT",
        None,
        "Milliseconds the broker waits for an order's settlement: the job queue's argument x-consumer-timeout. "
        "A queue that exists with another value has to be deleted first.",
        shown="set by the broker",
    )
    connection_max_retry: kinds.Count = _variable(
        "AMQP_CONNECTION_MAX_RETRY", 5, "How often the first connection is tried again, after 2 s, 4 s, 6 s and so on."
    )
    heartbeat_seconds: kinds.UpTo65535 = _variable(
        "AMQP_HEARTBEAT_SECONDS", 60, "Seconds of silence after which either side of the connection shows it is alive."
    )


class BackendSettings(Table):
    """Where StepFlow's backend is."""

    title = "Backend connection"

    hostname: kinds.Url = _variable("BACKEND_HOSTNAME", "http://127.0.0.1:4000/api", "URL of the backend server.")
    username: kinds.Text = _variable("BACKEND_USERNAME", "", "User name at the backend server.")
    password: kinds.Secret = _variable("BACKEND_PASSWORD", SecretStr(""), "Password at the backend server.", shown="")


class JobSettings(Table):
    """How jobs run and how they are ended."""

    title = "Jobs"

    ttl_limit: kinds.Count = _variable(
        "MESSAGE_TTL_LIMIT", 4, "Further attempts at an order whose worker or link died, before it ends in a job_error."
    )
    soft_limit: kinds.Count = _variable(
        "MESSAGE_SOFT_LIMIT",
        800,
        "Delays of 5 s for an order with missing requirements, before it ends in a job_error.",
    )
    isolation: kinds.Isolation = _variable(
        "MCAI_ISOLATION", "process", "Run jobs in a process of their own, or in a thread beside the broker connection."
    )
    timeout_seconds: kinds.TimeLimit = _variable(
        "MCAI_JOB_TIMEOUT_SECONDS", None, "A longer job is ended in a job_error."
    )
    stop_grace_seconds: kinds.TimeLimit = _variable(
        "MCAI_STOP_GRACE_SECONDS", None, "A job that ignores a stop order for longer is killed with its process."
    )
    shutdown_grace_seconds: kinds.Seconds = _variable(
        "MCAI_SHUTDOWN_GRACE_SECONDS",
        20.0,
        "How long the running job may go on after SIGTERM or SIGINT, before it is stopped and its order put back. "
        "The default ends before the 30 s of Kubernetes.",
        shown="20",
    )
    max_jobs: kinds.Limit = _variable("MCAI_MAX_JOBS", None, "The worker ends after this many jobs.")
    max_jobs_per_process: kinds.Limit = _variable(
        "MCAI_MAX_JOBS_PER_PROCESS", None, "The job process is replaced after this many jobs."
    )
    max_rss_mb_per_process: kinds.Limit = _variable(
        "MCAI_MAX_RSS_MB_PER_PROCESS", None, "The job process is replaced when a job leaves it larger than this, in MB."
    )


class MediaSettings(Table):
    """How media are read."""

    title = "Media workers"

    on_error: kinds.OnError = _variable(
        "MCAI_MEDIA_ON_ERROR", "fail", "A source that ends early fails the job, or what it lacks is counted."
    )
    hwaccel: kinds.Device = _variable(
        "MCAI_MEDIA_HWACCEL", None, "Decode video on this device; where it cannot, warn and use the CPU."
    )


class HttpSettings(Table):
    """The health and metrics endpoint."""

    title = "Health and metrics"

    port: Annotated[int | None, Field(ge=1, le=65535), kinds.Allowed("a whole number from 1 to 65535")] = _variable(
        "MCAI_HTTP_PORT", None, "Serve /live, /ready and /metrics on this port."
    )
    host: kinds.Host = _variable("MCAI_HTTP_HOST", "127.0.0.1", "Address to serve them on; 0.0.0.0 opens it to others.")


class ProxySettings(Table):
    """The proxies of the backend and the credential stores: see :class:`Proxies`."""

    title = "HTTP proxies"

    http: kinds.Proxy = _variable(
        "HTTP_PROXY", None, "Proxy for the backend and stores whose address begins with http://.", fallback="http_proxy"
    )
    https: kinds.Proxy = _variable(
        "HTTPS_PROXY", None, "The same for https://, through a tunnel (CONNECT).", fallback="https_proxy"
    )
    all: kinds.Proxy = _variable("ALL_PROXY", None, "Proxy where the variable above is unset.", fallback="all_proxy")
    no: Annotated[str, kinds.Allowed("HOST, .DOMAIN, *, an address, a network; with :PORT if wanted")] = _variable(
        "NO_PROXY", "", "Hosts that are reached without a proxy, separated by commas.", fallback="no_proxy"
    )


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """What the ``{STORE}_...`` variables say of one credential store, unverified; ``None`` where they say nothing."""

    name: str
    """The store, as the order writes it."""
    hostname: str | None
    """URL of its API."""
    username: str | None
    password: SecretStr | None
    token: SecretStr | None


class Settings(Table):
    """
    Everything the environment says, read once.

    :meth:`load` reads it; the constructor takes field values and reads nothing, which is for tests.
    Immutable, and safe to use from every thread.
    """

    title = "Running the worker"

    log: LogSettings = Field(default_factory=LogSettings)
    amqp: AmqpSettings = Field(default_factory=AmqpSettings)
    backend: BackendSettings = Field(default_factory=BackendSettings)
    job: JobSettings = Field(default_factory=JobSettings)
    media: MediaSettings = Field(default_factory=MediaSettings)
    http: HttpSettings = Field(default_factory=HttpSettings)
    proxy: ProxySettings = Field(default_factory=ProxySettings)

    source_orders: kinds.Paths = _variable(
        "SOURCE_ORDERS", (), "Run the orders in these JSON files in turn, without a broker, then end.", shown=""
    )
    describe: kinds.Switch = _variable(
        "DESCRIBE", False, "Print the worker's description and schema as JSON, then end."
    )
    direct_messaging_identifier: Annotated[str | None, kinds.Allowed("any text")] = _variable(
        "DIRECT_MESSAGING_IDENTIFIER",
        None,
        "What follows direct_messaging_ in the name of the worker's own queue.",
        shown="the instance id",
    )

    #: Where :meth:`store` looks; ``None`` is ``os.environ`` as it is at that moment.
    _environ: Mapping[str, str] | None = PrivateAttr(default=None)

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """
        Read the environment.

        Args:
            environ: Read this instead of ``os.environ``.

        Returns:
            The settings, every one of them verified.

        Raises:
            SettingsError: One or more variables have a value that is not allowed; names each of them.
        """
        try:
            settings = cls.model_validate(_gather(cls, os.environ if environ is None else environ))
        except ValidationError as error:
            raise SettingsError(_explain(error)) from None
        settings._environ = None if environ is None else dict(environ)
        return settings

    def environment_variable(self, name: str) -> str | None:
        """
        The value of any variable, for the ``env`` credential store; ``None`` when it is unset or empty.

        Looked up when called, so that what ``setup()`` puts into ``os.environ`` is found.
        """
        environ = os.environ if self._environ is None else self._environ
        try:
            return environ.get(name) or None
        except UnicodeEncodeError:  # An order may name anything, also what no variable can be called.
            return None

    def store(self, name: str) -> StoreSettings:
        """
        What the environment says of a credential store.

        Args:
            name: The store as the order writes it: it is the variables' prefix, letter case included.
        """
        password, token = (self.environment_variable(f"{name}_{key}") for key in ("PASSWORD", "TOKEN"))
        return StoreSettings(
            name=name,
            hostname=self.environment_variable(f"{name}_HOSTNAME"),
            username=self.environment_variable(f"{name}_USERNAME"),
            password=SecretStr(password) if password else None,
            token=SecretStr(token) if token else None,
        )

    def secrets(self) -> tuple[str, ...]:
        """The passwords in these settings, for masking. The documented defaults are none."""
        passwords = [table.password.get_secret_value() for table in (self.amqp, self.backend)]
        return tuple(password for password in [*passwords, *self.proxies.passwords()] if password not in {"", "guest"})

    def warnings(self) -> list[str]:
        """What the worker should log at its start about its environment; a sentence each, without a password."""
        environ = os.environ if self._environ is None else self._environ
        # The proxies' variables are other programs' as well, and so are those that are spelt alike.
        models = [model for model in tables() if model is not ProxySettings]
        spellings = [variables_of(field) for model in models for field in model.model_fields.values()]
        return [
            *near_misses(environ, {variable: same for same in spellings for variable in same}),
            *self.proxies.faults(),
        ]

    def unset_queue(self) -> str | None:
        """What a worker behind a broker should log when its queue is not named; ``None`` when it is."""
        if self.environment_variable("AMQP_QUEUE") is not None:
            return None
        return (
            "The environment variable AMQP_QUEUE is unset; expected the queue that holds the worker's orders. "
            f"They are taken from {self.amqp.queue}."
        )

    @property
    def proxies(self) -> Proxies:
        """Which proxy an address is reached through."""
        return Proxies(http=self.proxy.http, https=self.proxy.https, every=self.proxy.all, bypass=self.proxy.no)


def _nested(model: type[Table]) -> dict[str, type[Table]]:
    """The tables inside a model, by field name."""
    kinds = {name: field.annotation for name, field in model.model_fields.items()}
    return {name: kind for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, Table)}


def tables() -> list[type[Table]]:
    """Every model there is, in the order of the documentation."""
    return [*_nested(Settings).values(), Settings]


def _gather(model: type[Table], environ: Mapping[str, str]) -> dict[str, Any]:
    """The variables of a model and its nested ones that are set and not empty; of a field's, the one that wins."""
    values: dict[str, Any] = {name: _gather(kind, environ) for name, kind in _nested(model).items()}
    for field in model.model_fields.values():
        present = [variable for variable in variables_of(field) if environ.get(variable)]
        values.update((variable, environ[variable]) for variable in present[:1])
    return values


def _explain(error: ValidationError) -> str:
    """One sentence for each bad variable; never a secret's value."""
    fields = {name: row for model in tables() for row in model.model_fields.values() for name in variables_of(row)}
    problems: dict[str, str] = {}
    for detail in error.errors(include_url=False, include_context=False):
        variable = next(str(part) for part in detail["loc"] if part in fields)
        problems.setdefault(variable, problem(variable, fields[variable], str(detail["input"])))
    if len(problems) == 1:
        return next(iter(problems.values()))
    return "\n- ".join((f"{len(problems)} environment variables cannot be used:", *problems.values()))
