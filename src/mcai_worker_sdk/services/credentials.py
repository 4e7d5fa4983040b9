"""
The final values of an order's parameters: plain ones as they are, those with a ``store`` looked up in it.

Whatever a store gives is a secret: it goes to the caller's ``on_secret`` before it goes anywhere else, and no message
made here holds it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from pydantic import JsonValue, SecretStr

from mcai_worker_sdk.errors import CredentialError
from mcai_worker_sdk.logs import get_logger
from mcai_worker_sdk.protocol.orders import OrderParameter
from mcai_worker_sdk.protocol.reading import read_json
from mcai_worker_sdk.services.http import RetryPolicy
from mcai_worker_sdk.services.stores import Found, HttpStore, Lookup, NotFound, StepFlowStore, VaultStore, look_up_all
from mcai_worker_sdk.settings import Settings

__all__ = ["CredentialResolver"]

logger = get_logger("mcai_worker_sdk.services")

#: Where Vault is asked when no ``{STORE}_HOSTNAME`` says otherwise.
DEFAULT_VAULT_HOSTNAME = "http://127.0.0.1:8200/v1"

#: Names of the stores that are not StepFlow-style backends, and of the worker's own backend; any case.
ENVIRONMENT_STORES = frozenset({"env", "environment"})
VAULT_STORE = "vault"
BACKEND_STORE = "backend"

#: What a secret kept as text has to become, by the parameter's type. Texts of all other types stay texts.
_TYPES_OF_JSON: Mapping[str, tuple[str, tuple[type, ...]]] = {
    "integer": ("an integer", (int,)),
    "int": ("an integer", (int,)),
    "float": ("a number", (int, float)),
    "number": ("a number", (int, float)),
    "boolean": ("true or false", (bool,)),
    "bool": ("true or false", (bool,)),
    "object": ("a JSON object", (dict,)),
    "requirements": ("a JSON object", (dict,)),
}
_ARRAY = ("a JSON array", (list,))


class CredentialResolver:
    """
    Resolves the parameters of one job after the other.

    A value found as text stays text, so that the password ``42`` stays ``"42"``; only when the parameter's type asks
    for an integer, number, boolean, array or object is it read as JSON. (The reference reads every text that happens
    to be JSON.) Objects, as Vault keeps them, and other JSON values arrive as they are. Nothing is kept between calls.
    """

    def __init__(
        self,
        settings: Settings,
        on_secret: Callable[[str], None],
        *,
        policy: RetryPolicy | None = None,
    ) -> None:
        """
        Args:
            settings: Where the stores are, and the environment.
            on_secret: Called with every text found in a store, before it is returned.
            policy: How long to try a store that does not answer.
        """
        self._settings = settings
        self._on_secret = on_secret
        self._policy = policy if policy is not None else RetryPolicy()

    def resolve(self, parameters: Iterable[OrderParameter]) -> dict[str, JsonValue]:
        """
        Give each parameter its final value. Blocks; may be called on any thread, with or without an event loop.

        Args:
            parameters: As the order has them. The last of several with one id counts.

        Returns:
            Values by parameter id; parameters with neither value nor default are left out.

        Raises:
            CredentialError: One or more stores gave no value; names parameter, store, key, reason and remedy of each.
        """
        latest = {parameter.id: parameter for parameter in parameters}
        present = [parameter for parameter in latest.values() if parameter.effective_value is not None]
        lookups = self._look_up([parameter for parameter in present if parameter.store is not None])
        values: dict[str, JsonValue] = {}
        faults: list[str] = []
        for parameter in present:
            if parameter.store is None:
                values[parameter.id] = parameter.effective_value
                continue
            found = self._typed(parameter, lookups[parameter.id])
            if isinstance(found, Found):
                values[parameter.id] = found.value
            else:
                faults.append(f"{_name(parameter)} {found.reason}")
        if faults:
            raise CredentialError("\n".join(faults))
        return values

    def _look_up(self, stored: list[OrderParameter]) -> dict[str, Lookup]:
        """What became of each parameter's credential, by parameter id."""
        lookups: dict[str, Lookup] = {}
        asked: dict[str, tuple[HttpStore, dict[str, list[str]]]] = {}
        for parameter in stored:
            name, key = parameter.store or "", parameter.effective_value
            logger.debug("Parameter %s: credential %s of store %s.", parameter.id, _shown_key(key), name)
            if not isinstance(key, str) or not key:
                lookups[parameter.id] = NotFound("has no name; expected its key, a string. Correct the order.")
                continue
            if name.casefold() in ENVIRONMENT_STORES:
                lookups[parameter.id] = self._from_environment(key)
                continue
            store = asked[name][0] if name in asked else self._http_store(name)
            if isinstance(store, NotFound):
                lookups[parameter.id] = store
                continue
            asked.setdefault(name, (store, {}))[1].setdefault(key, []).append(parameter.id)
        for (_, ids_by_key), found_by_key in zip(asked.values(), self._ask(list(asked.values())), strict=True):
            for key, ids in ids_by_key.items():
                lookups.update(dict.fromkeys(ids, found_by_key[key]))
        return lookups

    def _from_environment(self, key: str) -> Lookup:
        value = self._settings.environment_variable(key)
        if value is None:
            return NotFound(
                f"is not there: the environment variable {key} is unset or empty. Set it where the worker starts."
            )
        return Found(value)

    def _http_store(self, name: str) -> HttpStore | NotFound:
        settings, proxies = self._settings.store(name), self._settings.proxies
        password = settings.password or SecretStr("")
        if name.casefold() == VAULT_STORE:
            hostname = settings.hostname or DEFAULT_VAULT_HOSTNAME
            return VaultStore(name, hostname, settings.token or SecretStr(""), proxies)
        if settings.hostname:
            return StepFlowStore(name, settings.hostname, settings.username or "", password, proxies)
        if name.casefold() == BACKEND_STORE:
            own = self._settings.backend
            return StepFlowStore("BACKEND", own.hostname, own.username, own.password, proxies)
        return NotFound(
            f"cannot be read: nothing is known of the store; expected env, vault, BACKEND or a store with an address. "
            f"Set {name}_HOSTNAME, {name}_USERNAME and {name}_PASSWORD, or correct the order."
        )

    def _ask(self, asked: list[tuple[HttpStore, dict[str, list[str]]]]) -> list[dict[str, Lookup]]:
        if not asked:
            return []
        wanted = [(store, tuple(ids_by_key)) for store, ids_by_key in asked]
        # A thread of its own: the caller's may have a running loop, or user code that expects its loop untouched.
        with ThreadPoolExecutor(1, thread_name_prefix="credentials") as executor:
            return executor.submit(self._run_look_up, wanted).result()

    def _run_look_up(self, wanted: list[tuple[HttpStore, tuple[str, ...]]]) -> list[dict[str, Lookup]]:
        # Not the loop that the worker's script may have installed.
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            return runner.run(look_up_all(wanted, self._policy))

    def _typed(self, parameter: OrderParameter, lookup: Lookup) -> Lookup:
        if isinstance(lookup, NotFound):
            return lookup
        self._register(lookup.value)
        rule = _ARRAY if parameter.type.startswith("array") else _TYPES_OF_JSON.get(parameter.type)
        if rule is None or not isinstance(lookup.value, str):
            return lookup
        expected, types = rule
        try:
            value: JsonValue = read_json(lookup.value)
        except ValueError:
            value = None
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            return NotFound(
                f"is a text that does not fit; expected {expected}, as the parameter's type {parameter.type} says. "
                f"Correct the credential or the type."
            )
        self._register(value)
        return Found(value)

    def _register(self, value: JsonValue) -> None:
        for text in _texts(value):
            self._on_secret(text)


def _texts(value: JsonValue) -> Iterator[str]:
    """Every text and number in a JSON value, but for the names of its members and empty texts."""
    if isinstance(value, str):
        if value:
            yield value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)
    elif isinstance(value, dict):
        for member in value.values():
            yield from _texts(member)
    elif isinstance(value, list):
        for entry in value:
            yield from _texts(entry)


def _name(parameter: OrderParameter) -> str:
    return (
        f"Credential {_shown_key(parameter.effective_value)} of store {parameter.store!r}, "
        f"for parameter {parameter.id!r},"
    )


def _shown_key(key: JsonValue) -> str:
    # Only a key is fit to be shown; something else in its place may be the secret itself.
    return repr(key) if isinstance(key, str) else f"<{type(key).__name__}>"
