"""``requirements.paths`` of an order: which are looked for, and which shapes are refused."""

import pytest

from mcai_worker_sdk.errors import ParameterError
from mcai_worker_sdk.protocol.orders import OrderParameter, required_paths


def requirements(*values: object) -> list[OrderParameter]:
    return [OrderParameter(id="requirements", type="requirements", value=value) for value in values]


@pytest.mark.parametrize(
    ("values", "paths"),
    [
        ([], ()),
        ([{}], ()),
        ([None], ()),
        ([{"paths": None}], ()),
        ([{"paths": []}], ()),
        ([{"paths": ["/a", "/b"], "other": 1}], ("/a", "/b")),
        ([{"paths": ["/a"]}, {"paths": ["/b"]}], ("/b",)),
    ],
)
def test_required_paths_are_those_of_the_last_requirements(values: list, paths: tuple) -> None:
    assert required_paths(requirements(*values)) == paths


def test_the_default_of_requirements_counts_too() -> None:
    assert required_paths([OrderParameter(id="requirements", type="r", default={"paths": ["/a"]})]) == ("/a",)


@pytest.mark.parametrize("value", ["/a", ["/a"], 5, True, {"paths": "/a"}, {"paths": [1]}, {"paths": {"a": 1}}])
def test_requirements_of_another_shape_are_refused(value: object) -> None:
    with pytest.raises(ParameterError, match=r"Parameter 'requirements' is .*; expected an object such as"):
        required_paths(requirements(value))
