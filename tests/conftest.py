"""For every test: an environment in which no variable of the SDK is set, whatever the machine's own says."""

from collections.abc import Callable

import pytest

from mcai_worker_sdk.settings import environment_tables
from tests.support.versions import versions_in_use

#: Every variable the SDK reads by a fixed name; those of credential stores begin with a name that a test chooses.
SDK_VARIABLES = [
    row.variable for table in environment_tables() for row in table.rows if not row.variable.startswith("{")
]


@pytest.fixture(autouse=True)
def _no_variable_of_the_sdk_is_set(monkeypatch: pytest.MonkeyPatch):
    for variable in SDK_VARIABLES:
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture(scope="session", autouse=True)
def _a_report_names_the_versions(
    pytestconfig: pytest.Config, record_testsuite_property: Callable[[str, object], None]
) -> None:
    if pytestconfig.getoption("xmlpath"):
        for name, version in versions_in_use().items():
            record_testsuite_property(name, version)
