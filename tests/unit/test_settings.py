"""The environment: documented defaults, what each variable takes, and what a bad value is answered with."""

import logging
import os
import pickle
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from mcai_worker_sdk.errors import SettingsError
from mcai_worker_sdk.settings import Settings, environment_tables

CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"

#: variable, attribute, default, a value and how it arrives
PLAIN = [
    ("AMQP_HOSTNAME", "amqp.hostname", "localhost", "broker.example", "broker.example"),
    ("AMQP_PORT", "amqp.port", 5672, "5671", 5671),
    ("AMQP_TLS", "amqp.tls", False, "true", True),
    ("AMQP_TLS_VERIFY", "amqp.tls_verify", True, "false", False),
    ("AMQP_USERNAME", "amqp.username", "guest", "worker", "worker"),
    ("AMQP_PASSWORD", "amqp.password", SecretStr("guest"), "s3cret", SecretStr("s3cret")),
    ("AMQP_VHOST", "amqp.vhost", "/", "media", "media"),
    ("AMQP_VIRTUAL_HOST", "amqp.vhost", "/", "media", "media"),
    ("AMQP_QUEUE", "amqp.queue", "job_undefined", "job_digest", "job_digest"),
    ("AMQP_DELIVERY_MODE", "amqp.delivery_mode", 2, "1", 1),
    ("AMQP_SERVER_CONFIGURATION", "amqp.server_configuration", "standalone", "Cluster", "cluster"),
    ("AMQP_CONSUMER_TIMEOUT", "amqp.consumer_timeout_ms", None, "90000", 90000),
    ("AMQP_CONNECTION_MAX_RETRY", "amqp.connection_max_retry", 5, "0", 0),
    ("AMQP_HEARTBEAT_SECONDS", "amqp.heartbeat_seconds", 60, "10", 10),
    ("BACKEND_HOSTNAME", "backend.hostname", "http://127.0.0.1:4000/api", "https://b/api", "https://b/api"),
    ("BACKEND_USERNAME", "backend.username", "", "me", "me"),
    ("BACKEND_PASSWORD", "backend.password", SecretStr(""), "s3cret", SecretStr("s3cret")),
    ("MCAI_LOG", "log.level", logging.INFO, "warn", logging.WARNING),
    ("RUST_LOG", "log.level", logging.INFO, "debug", logging.DEBUG),
    ("ONLY_JSON_LOGS", "log.only_json", False, "yes", True),
    ("FILE_LOGGING", "log.file", None, "worker.log", Path("worker.log")),
    ("MESSAGE_TTL_LIMIT", "job.ttl_limit", 4, "0", 0),
    ("MESSAGE_SOFT_LIMIT", "job.soft_limit", 800, "3", 3),
    ("MCAI_ISOLATION", "job.isolation", "process", "THREAD", "thread"),
    ("MCAI_JOB_TIMEOUT_SECONDS", "job.timeout_seconds", None, "1.5", 1.5),
    ("MCAI_STOP_GRACE_SECONDS", "job.stop_grace_seconds", None, "30", 30.0),
    ("MCAI_SHUTDOWN_GRACE_SECONDS", "job.shutdown_grace_seconds", 20.0, "0", 0.0),
    ("MCAI_MAX_JOBS", "job.max_jobs", None, "1", 1),
    ("MCAI_MAX_JOBS_PER_PROCESS", "job.max_jobs_per_process", None, "100", 100),
    ("MCAI_MAX_RSS_MB_PER_PROCESS", "job.max_rss_mb_per_process", None, "2048", 2048),
    ("MCAI_MEDIA_ON_ERROR", "media.on_error", "fail", "skip", "skip"),
    ("MCAI_MEDIA_HWACCEL", "media.hwaccel", None, "CUDA", "cuda"),
    ("MCAI_HTTP_PORT", "http.port", None, "8080", 8080),
    ("MCAI_HTTP_HOST", "http.host", "127.0.0.1", "0.0.0.0", "0.0.0.0"),
    ("HTTP_PROXY", "proxy.http", None, "http://p:3128", "http://p:3128"),
    ("http_proxy", "proxy.http", None, "http://p:3128", "http://p:3128"),
    ("HTTPS_PROXY", "proxy.https", None, "p:3128", "p:3128"),
    ("https_proxy", "proxy.https", None, "p:3128", "p:3128"),
    ("ALL_PROXY", "proxy.all", None, "p", "p"),
    ("all_proxy", "proxy.all", None, "p", "p"),
    ("NO_PROXY", "proxy.no", "", "localhost,.example", "localhost,.example"),
    ("no_proxy", "proxy.no", "", "localhost,.example", "localhost,.example"),
    ("DIRECT_MESSAGING_IDENTIFIER", "direct_messaging_identifier", None, "mine", "mine"),
    ("DESCRIBE", "describe", False, "1", True),
    ("SOURCE_ORDERS", "source_orders", (), f"a.json{os.pathsep}b c.json", (Path("a.json"), Path("b c.json"))),
]

BAD = [
    ("AMQP_HOSTNAME", "amqp://broker"),
    ("AMQP_HOSTNAME", "broker:5672/vhost"),
    ("AMQP_PORT", "0"),
    ("AMQP_PORT", "65536"),
    ("AMQP_PORT", "amqp"),
    ("AMQP_TLS", "maybe"),
    ("AMQP_TLS_CERT", "/there/is/no/such/file.pem"),
    ("AMQP_DELIVERY_MODE", "3"),
    ("AMQP_DELIVERY_MODE", "persistent"),
    ("AMQP_SERVER_CONFIGURATION", "ha"),
    ("AMQP_CONSUMER_TIMEOUT", "0"),
    ("AMQP_CONSUMER_TIMEOUT", "30 min"),
    ("AMQP_CONNECTION_MAX_RETRY", "-1"),
    ("AMQP_HEARTBEAT_SECONDS", "0"),
    ("BACKEND_HOSTNAME", "backend:4000/api"),
    ("MCAI_LOG", "loud"),
    ("MCAI_LOG", "10"),
    ("ONLY_JSON_LOGS", "json"),
    ("MESSAGE_TTL_LIMIT", "-1"),
    ("MESSAGE_SOFT_LIMIT", "many"),
    ("MCAI_ISOLATION", "container"),
    ("MCAI_JOB_TIMEOUT_SECONDS", "0"),
    ("MCAI_JOB_TIMEOUT_SECONDS", "inf"),
    ("MCAI_STOP_GRACE_SECONDS", "-5"),
    ("MCAI_SHUTDOWN_GRACE_SECONDS", "nan"),
    ("MCAI_MAX_JOBS", "0"),
    ("MCAI_MAX_JOBS_PER_PROCESS", "1.5"),
    ("MCAI_MAX_RSS_MB_PER_PROCESS", "2GB"),
    ("MCAI_MEDIA_ON_ERROR", "ignore"),
    ("MCAI_HTTP_PORT", "http"),
    ("MCAI_HTTP_HOST", "0.0.0.0/0"),
    ("DESCRIBE", "please"),
    ("SOURCE_ORDERS", os.pathsep),
]


def read(settings: Settings, attribute: str) -> object:
    value: object = settings
    for name in attribute.split("."):
        value = getattr(value, name)
    return value


@pytest.mark.parametrize(("variable", "attribute", "default"), [row[:3] for row in PLAIN])
def test_a_variable_that_is_unset_or_empty_has_the_documented_default(variable, attribute, default):
    assert read(Settings.load({}), attribute) == default
    assert read(Settings.load({variable: ""}), attribute) == default


@pytest.mark.parametrize(("variable", "attribute", "text", "value"), [(row[0], row[1], *row[3:]) for row in PLAIN])
def test_a_variable_that_is_set_arrives_with_its_type(variable, attribute, text, value):
    arrived = read(Settings.load({variable: text}), attribute)

    assert arrived == value
    assert type(arrived) is type(value)


@pytest.mark.parametrize(("variable", "value"), BAD)
def test_a_bad_value_is_answered_with_variable_value_and_what_is_allowed(variable, value):
    allowed = {row.variable: row.allowed for table in environment_tables() for row in table.rows}

    with pytest.raises(SettingsError) as refusal:
        Settings.load({variable: value})

    text = str(refusal.value)
    assert text.startswith(f"The environment variable {variable} is {value!r}; expected {allowed[variable]}. ")
    assert "unset it" in text


def test_several_bad_values_are_named_in_one_message():
    with pytest.raises(SettingsError) as refusal:
        Settings.load({"AMQP_PORT": "x", "DESCRIBE": "maybe", "MCAI_LOG": "z", "MESSAGE_TTL_LIMIT": "2"})

    text = str(refusal.value)
    assert text.startswith("3 environment variables cannot be used:")
    assert [variable in text for variable in ("AMQP_PORT", "DESCRIBE", "MCAI_LOG", "MESSAGE_TTL_LIMIT")] == [
        True,
        True,
        True,
        False,
    ]


def test_the_text_of_a_bad_value_is_exact():
    with pytest.raises(SettingsError) as refusal:
        Settings.load({"AMQP_PORT": "70000"})

    assert str(refusal.value) == (
        "The environment variable AMQP_PORT is '70000'; expected a whole number from 1 to 65535. "
        "Correct it, or unset it for the default, 5672."
    )


@pytest.mark.parametrize("word", ["1", "true", "True", "TRUE", "tRuE", "yes", "Yes", "on", "ON", " true "])
def test_every_word_for_yes_turns_a_switch_on(word):
    settings = Settings.load({"AMQP_TLS": word, "ONLY_JSON_LOGS": word, "DESCRIBE": word})

    assert (settings.amqp.tls, settings.log.only_json, settings.describe) == (True, True, True)


@pytest.mark.parametrize("word", ["0", "false", "FALSE", "no", "off", ""])
def test_every_word_for_no_turns_a_switch_off(word):
    assert Settings.load({"AMQP_TLS_VERIFY": word or "0"}).amqp.tls_verify is False
    assert Settings.load({"AMQP_TLS": word}).amqp.tls is False


def test_the_port_stays_5672_with_tls():
    assert Settings.load({"AMQP_TLS": "1"}).amqp.port == 5672


def test_amqp_vhost_wins_over_amqp_virtual_host():
    assert Settings.load({"AMQP_VHOST": "a", "AMQP_VIRTUAL_HOST": "b"}).amqp.vhost == "a"
    assert Settings.load({"AMQP_VHOST": "", "AMQP_VIRTUAL_HOST": "b"}).amqp.vhost == "b"


@pytest.mark.parametrize(
    ("environ", "level"),
    [
        ({"MCAI_LOG": "DEBUG"}, logging.DEBUG),
        ({"MCAI_LOG": "Info"}, logging.INFO),
        ({"MCAI_LOG": "WARN"}, logging.WARNING),
        ({"MCAI_LOG": "warning"}, logging.WARNING),
        ({"MCAI_LOG": "error"}, logging.ERROR),
        ({"MCAI_LOG": "CRITICAL"}, logging.CRITICAL),
        ({"MCAI_LOG": "ERROR", "RUST_LOG": "debug"}, logging.ERROR),
        ({"MCAI_LOG": "", "RUST_LOG": "debug"}, logging.DEBUG),
        ({"RUST_LOG": "trace"}, logging.DEBUG),
        ({"RUST_LOG": "WARN"}, logging.WARNING),
        ({"RUST_LOG": "mcai_worker_sdk=debug"}, logging.INFO),
        ({"RUST_LOG": "error,lapin=off"}, logging.INFO),
    ],
)
def test_the_log_level_comes_from_mcai_log_else_from_rust_log(environ, level):
    assert Settings.load(environ).log.level == level


def test_a_file_of_certificates_is_accepted(tmp_path):
    path = tmp_path / "ca.pem"
    path.write_text(CERTIFICATE)

    assert Settings.load({"AMQP_TLS_CERT": str(path)}).amqp.tls_cert == path


@pytest.mark.parametrize("content", [b"", b"\x30\x82\x01\x00\xff", b"-----BEGIN PRIVATE KEY-----\nMIIB\n"])
def test_a_file_without_certificates_is_refused(tmp_path, content):
    path = tmp_path / "ca.pem"
    path.write_bytes(content)

    with pytest.raises(SettingsError, match=r"AMQP_TLS_CERT is .*ca\.pem.*; expected the path of a PEM file"):
        Settings.load({"AMQP_TLS_CERT": str(path)})


def test_a_directory_of_certificates_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="AMQP_TLS_CERT"):
        Settings.load({"AMQP_TLS_CERT": str(tmp_path)})


def test_an_empty_part_of_source_orders_is_passed_over():
    assert Settings.load({"SOURCE_ORDERS": f"{os.pathsep}a.json{os.pathsep}"}).source_orders == (Path("a.json"),)


def test_variables_that_are_not_ours_are_left_alone():
    assert Settings.load({"port": "x", "hostname": "amqp://x", "amqp": "y", "AMQP_PORTS": "z"}).model_dump() == (
        Settings().model_dump()
    )


def test_the_process_environment_is_read_when_no_other_is_given(monkeypatch):
    monkeypatch.setenv("AMQP_QUEUE", "job_from_outside")

    assert Settings.load().amqp.queue == "job_from_outside"


def test_the_constructor_reads_no_environment(monkeypatch):
    monkeypatch.setenv("AMQP_QUEUE", "job_from_outside")

    assert Settings().amqp.queue == "job_undefined"


def test_settings_cannot_be_changed():
    settings = Settings.load({})

    with pytest.raises(ValidationError):
        settings.describe = True
    with pytest.raises(ValidationError):
        settings.amqp.port = 1


def test_settings_travel_to_another_process():
    settings = Settings.load({"AMQP_PORT": "5673", "STORE_TOKEN": "t0ken"})

    arrived = pickle.loads(pickle.dumps(settings))

    assert arrived == settings
    assert arrived.store("STORE").token == SecretStr("t0ken")


def test_no_secret_is_shown():
    environ = {
        "AMQP_PASSWORD": "s3cret-a",
        "BACKEND_PASSWORD": "s3cret-b",
        "BACKEND_HOSTNAME": "https://me:s3cret-c@backend/api",
        "VAULT_TOKEN": "s3cret-d",
        "VAULT_PASSWORD": "s3cret-e",
    }
    settings = Settings.load(environ)

    shown = f"{settings} {settings!r} {settings.amqp} {settings.backend!r} {settings.store('VAULT')!r}"

    assert "s3cret" not in shown
    assert "https://***@backend/api" in shown


@pytest.mark.parametrize("value", ["amqp://me:s3cret@broker", "me:s3cret@broker", "amqp://me:s3/cr@et@broker"])
def test_a_password_in_a_bad_host_name_is_not_shown(value):
    with pytest.raises(SettingsError) as refusal:
        Settings.load({"AMQP_HOSTNAME": value})

    assert "***@broker" in str(refusal.value)
    assert "s3" not in str(refusal.value)


def test_secrets_are_the_passwords_that_are_not_the_documented_defaults():
    assert Settings.load({}).secrets() == ()
    assert Settings.load({"AMQP_PASSWORD": "guest", "BACKEND_PASSWORD": "b4ckend"}).secrets() == ("b4ckend",)
    assert Settings.load({"AMQP_PASSWORD": "br0ker"}).secrets() == ("br0ker",)


def test_a_store_is_looked_up_under_its_name_exactly_as_written():
    environ = {
        "Vault_HOSTNAME": "http://vault:8200/v1",
        "Vault_TOKEN": "t0ken",
        "VAULT_HOSTNAME": "http://other",
        "Vault_USERNAME": "",
    }

    store = Settings.load(environ).store("Vault")

    assert (store.name, store.hostname, store.username, store.password) == ("Vault", "http://vault:8200/v1", None, None)
    assert store.token is not None
    assert store.token.get_secret_value() == "t0ken"
    assert Settings.load(environ).store("vault").hostname is None


def test_a_credential_variable_is_looked_up_when_it_is_asked_for(monkeypatch):
    settings = Settings.load()
    monkeypatch.setenv("SET_IN_SETUP", "value")
    monkeypatch.setenv("EMPTY_ONE", "")

    assert settings.environment_variable("SET_IN_SETUP") == "value"
    assert settings.environment_variable("EMPTY_ONE") is None
    assert settings.environment_variable("NEVER_SET_ANYWHERE") is None


@pytest.mark.parametrize("name", ["\ud800", "a\0b", "a=b", ""])
def test_a_name_no_variable_can_have_is_simply_unset(name):
    assert Settings.load().environment_variable(name) is None


def test_a_given_environment_is_the_only_one_asked(monkeypatch):
    monkeypatch.setenv("FROM_OUTSIDE", "value")

    assert Settings.load({"INSIDE": "1"}).environment_variable("FROM_OUTSIDE") is None
    assert Settings.load({"INSIDE": "1"}).environment_variable("INSIDE") == "1"


def test_the_tables_name_every_variable_once_with_description_and_allowed_values():
    rows = [row for table in environment_tables() for row in table.rows]
    names = [row.variable for row in rows]

    assert len(names) == len(set(names))
    assert {row[0] for row in PLAIN} | {"AMQP_TLS_CERT"} == {name for name in names if not name.startswith("{STORE}")}
    assert [row.variable for row in rows if not row.description or not row.allowed] == []


def test_the_tables_show_the_defaults_as_a_person_would_write_them():
    defaults = {row.variable: row.default for table in environment_tables() for row in table.rows}

    assert {name: defaults[name] for name in ("MCAI_LOG", "AMQP_TLS", "AMQP_TLS_VERIFY", "AMQP_PASSWORD")} == {
        "MCAI_LOG": "INFO",
        "AMQP_TLS": "false",
        "AMQP_TLS_VERIFY": "true",
        "AMQP_PASSWORD": "guest",
    }
    assert defaults["SOURCE_ORDERS"] == defaults["MCAI_HTTP_PORT"] == defaults["BACKEND_PASSWORD"] == ""


@pytest.mark.parametrize(
    ("variable", "default"),
    [
        (row.variable, row.default)
        for table in environment_tables()
        for row in table.rows
        if row.default and row.variable not in {"AMQP_CONSUMER_TIMEOUT", "DIRECT_MESSAGING_IDENTIFIER"}
    ],
)
def test_writing_the_documented_default_changes_nothing(variable, default):
    assert Settings.load({variable: default}).model_dump() == Settings().model_dump()


def test_the_tables_have_the_titles_of_the_documentation():
    assert [table.title for table in environment_tables()] == [
        "Logging",
        "AMQP connection",
        "Backend connection",
        "Jobs",
        "Media workers",
        "Health and metrics",
        "HTTP proxies",
        "Running the worker",
        "Credential stores",
    ]


# Near misses


def not_read(**environ: str) -> dict[str, str]:
    """Each variable that is told of as not read, and the one it is told to be meant for."""
    told = [w.split() for w in Settings.load(environ).warnings() if " is not read; expected " in w]
    return {words[3]: words[8].rstrip(",") for words in told}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("AMQP_HOST", "AMQP_HOSTNAME"),
        ("AMQP_USER", "AMQP_USERNAME"),
        ("AMQP_PASS", "AMQP_PASSWORD"),
        ("AMQP_VIRTUALHOST", "AMQP_VIRTUAL_HOST"),
        ("AMPQ_HOSTNAME", "AMQP_HOSTNAME"),
        ("AMPQ_QUEUE", "AMQP_QUEUE"),
        ("AMQP_QUEUES", "AMQP_QUEUE"),
        ("amqp_queue", "AMQP_QUEUE"),
        ("BACKEND_HOST", "BACKEND_HOSTNAME"),
        ("BACKEND_PASSWD", "BACKEND_PASSWORD"),
        ("BAKCEND_HOSTNAME", "BACKEND_HOSTNAME"),
        ("MCAI_LOGS", "MCAI_LOG"),
        ("MCAI_LOG_LEVEL", "MCAI_LOG"),
        ("MCAI_TIMEOUT_SECONDS", "MCAI_JOB_TIMEOUT_SECONDS"),
        ("MCAI_MAX_RSS_MB", "MCAI_MAX_RSS_MB_PER_PROCESS"),
        ("MESSAGE_TTL", "MESSAGE_TTL_LIMIT"),
        ("SOURCE_ORDER", "SOURCE_ORDERS"),
        ("ONLY_JSON_LOG", "ONLY_JSON_LOGS"),
    ],
)
def test_a_variable_that_is_nearly_one_of_the_sdk_is_told_with_the_right_name(name: str, meant: str):
    assert not_read(**{name: "1"}) == {name: meant}


def test_a_near_miss_beside_the_right_variable_is_somebody_elses():
    assert not_read(AMQP_HOST="a", AMQP_HOSTNAME="b", AMQP_VIRTUALHOST="a", AMQP_VHOST="b") == {}
    assert not_read(AMQP_HOST="a", AMQP_HOSTNAME="") == {"AMQP_HOST": "AMQP_HOSTNAME"}
    assert not_read(AMQP_HOST="") == {}


@pytest.mark.parametrize(
    "name",
    [
        "S_HOSTNAME",
        "BACKEND2_HOSTNAME",
        "BACKEND_TOKEN",
        "AMQP_STORE_PASSWORD",
        "AMQP_URL",
        "AMQP_SERVICE_HOST",
        "MCAI_WORKER_SERVICE_PORT",
        "AMQP_",
        "FTP_PROXY",
        "PATH",
    ],
)
def test_a_variable_of_a_store_or_of_another_program_is_no_near_miss(name: str):
    assert not_read(**{name: "1"}) == {}


def test_a_variable_of_kubernetes_beside_its_like_is_no_near_miss():
    assert not_read(AMQP_PORT="5672", AMQP_PORT_5672_TCP="tcp://10.0.0.1:5672") == {}


def test_an_unset_queue_is_told():
    assert (
        Settings.load({}).unset_queue()
        == Settings.load({"AMQP_QUEUE": ""}).unset_queue()
        == (
            "The environment variable AMQP_QUEUE is unset; expected the queue that holds the worker's orders. "
            "They are taken from job_undefined."
        )
    )
    assert Settings.load({"AMQP_QUEUE": "job_digest"}).unset_queue() is None


def test_a_proxy_that_cannot_be_used_is_told():
    (warning,) = Settings.load({"ALL_PROXY": "socks5://me:secret@p"}).warnings()

    assert warning.startswith("The environment variable ALL_PROXY is 'socks5://***@p'; expected http:// or https://")
