"""What process returned becomes a result: nothing is dropped in silence, nothing that is not JSON gets out."""

import decimal
import enum
import fractions
import json
import math
from collections import OrderedDict
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcai_worker_sdk.errors import ResultError
from mcai_worker_sdk.job.results import ProcessResult, read_result
from mcai_worker_sdk.protocol.responses import JobResult, JobState, ResultParameter, dump

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.binary()
    | st.decimals()
    | st.just(object())
    | st.just({1, 2})
    | st.sampled_from(["12", "true", "id", "kind", "int", "float", "boolean", "array_of_ints", "string", "object"]),
    lambda children: (
        st.lists(children)
        | st.tuples(children)
        | st.dictionaries(st.sampled_from(["id", "kind", "type", "value", "store", "default", "a"]), children)
        | st.fixed_dictionaries(
            {"id": st.text(), "kind": st.sampled_from(["int", "integer", "float", "array_of_floats", "object", "zzz"])},
            optional={"value": children, "default": children},
        )
    ),
    max_leaves=12,
)


class Word(enum.Enum):
    ONE = "one"


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no text")


def entry(kind: str, value: Any, **more: Any) -> dict[str, Any]:
    return {"parameters": [{"id": "a", "kind": kind, "value": value, **more}]}


def published(kind: str, value: Any) -> Any:
    result = read_result(7, entry(kind, value))
    assert result.warnings == ()
    return result.parameters[0].value


def refusal(returned: Any) -> str:
    with pytest.raises(ResultError) as caught:
        read_result(7, returned)
    return str(caught.value)


@pytest.mark.parametrize("returned", [None, {}, OrderedDict(), MappingProxyType({})])
def test_nothing_returned_is_an_empty_result(returned: Any) -> None:
    assert read_result(7, returned) == ProcessResult((), (), ())


@pytest.mark.parametrize(
    ("key", "advice"),
    [
        ("destination_path", " Write destination_paths."),
        ("destinationPaths", " Write destination_paths."),
        ("parameter", " Write parameters."),
        ("message", ""),
        (3, ""),
    ],
)
def test_an_unknown_key_of_a_result_is_told_with_the_one_that_may_be_meant(key: Any, advice: str) -> None:
    result = read_result(7, {key: ["/a"], "destination_paths": ["/b"]})

    assert result.destination_paths == ("/b",)
    (warning,) = result.warnings
    assert warning == (
        f"Job 7: the result has the unknown key {key!r}; expected destination_paths, parameters. "
        f"It is not published.{advice}"
    )


@pytest.mark.parametrize(("key", "advice"), [("valeu", " Write value."), ("Kind", " Write kind."), ("zzz", "")])
def test_an_unknown_key_of_a_parameter_is_told_with_the_one_that_may_be_meant(key: str, advice: str) -> None:
    result = read_result(7, entry("int", 3, **{key: 5}))

    assert result.parameters == (ResultParameter("a", "int", 3),)
    (warning,) = result.warnings
    assert warning == (
        f"Job 7: parameters[0] has the unknown key {key!r}; expected id, kind, type, value, store, default. "
        f"It is not published.{advice}"
    )


@pytest.mark.parametrize("returned", ["done", ["/a"], 3, ("/a",), True, object()])
def test_what_is_no_dict_is_named_in_a_warning(returned: Any) -> None:
    result = read_result(7, returned)

    assert (result.destination_paths, result.parameters) == ((), ())
    assert result.warnings == (
        f"Job 7: process returned {returned!r}; expected a dict or None. Nothing of it is published.",
    )


def test_a_coroutine_comes_with_advice() -> None:
    async def process() -> None: ...

    (warning,) = read_result(7, process()).warnings

    assert warning.endswith("Make process a plain function: call asyncio.run() in it.")


def test_a_whole_result_is_read() -> None:
    returned = {
        "destination_paths": ["/données/é☃.mp4", Path("/b")],
        "parameters": [
            {"id": "text", "kind": "string", "value": "hello", "store": "vault", "default": "d"},
            {"id": "count", "type": "int", "value": "12"},
        ],
    }

    assert read_result(7, returned) == ProcessResult(
        destination_paths=("/données/é☃.mp4", "/b"),
        parameters=(
            ResultParameter("text", "string", "hello", store="vault", default="d"),
            ResultParameter("count", "int", 12),
        ),
    )


class TestDestinationPaths:
    def test_a_tuple_is_a_list(self) -> None:
        assert read_result(7, {"destination_paths": ("/a", "/b")}).destination_paths == ("/a", "/b")

    def test_none_means_no_path(self) -> None:
        assert read_result(7, {"destination_paths": None}) == ProcessResult()

    def test_an_item_that_is_no_path_is_left_out_and_named(self) -> None:
        result = read_result(7, {"destination_paths": ["/a", 3, None, "/b"]})

        assert result.destination_paths == ("/a", "/b")
        assert result.warnings == (
            "Job 7: destination_paths[1] is 3; expected a string. It is not published.",
            "Job 7: destination_paths[2] is None; expected a string. It is not published.",
        )

    @pytest.mark.parametrize("paths", ["/a", {"/a"}, Path("/a"), 3])
    def test_what_is_no_list_is_named(self, paths: Any) -> None:
        result = read_result(7, {"destination_paths": paths})

        assert result.destination_paths == ()
        assert f"destination_paths is {paths!r}; expected a list of strings." in result.warnings[0]

    def test_a_path_that_is_no_text_is_published_as_the_reference_does_and_named(self) -> None:
        result = read_result(7, {"destination_paths": ["/a\udcff"]})

        assert result.destination_paths == ("/a?",)
        assert "destination_paths[0] is '/a\\udcff', which is not Unicode text" in result.warnings[0]


class TestEntries:
    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            (3, "parameters[0] is 3; expected a dict such as"),
            ({"kind": "int", "value": 1}, "parameters[0] has no id: {'kind': 'int', 'value': 1}."),
            ({"id": "a", "value": 1}, "parameters[0] has no kind: {'id': 'a', 'value': 1}."),
            ({}, "parameters[0] has no id and no kind: {}."),
            ({"id": "a", "kind": None}, "parameters[0] has no kind"),
        ],
    )
    def test_an_incomplete_entry_is_left_out_and_named(self, given: Any, expected: str) -> None:
        result = read_result(7, {"parameters": [given, {"id": "b", "kind": "int", "value": 1}]})

        assert [parameter.id for parameter in result.parameters] == ["b"]
        assert result.warnings[0].startswith(f"Job 7: {expected}")

    @pytest.mark.parametrize("parameters", [{"id": "a"}, "a", 3])
    def test_what_is_no_list_is_named(self, parameters: Any) -> None:
        result = read_result(7, {"parameters": parameters})

        assert result.parameters == ()
        assert "expected a list of dicts" in result.warnings[0]

    def test_none_means_no_parameter(self) -> None:
        assert read_result(7, {"parameters": None}) == ProcessResult()

    def test_id_kind_and_store_become_text(self) -> None:
        returned = {"parameters": [{"id": 3, "kind": Word.ONE, "value": 1, "store": 4}]}

        assert read_result(7, returned).parameters == (ResultParameter("3", "one", 1, store="4"),)

    def test_kind_wins_over_type(self) -> None:
        returned = {"parameters": [{"id": "a", "kind": "int", "type": "string", "value": 1}]}

        assert read_result(7, returned).parameters[0] == ResultParameter("a", "int", 1)

    def test_an_absent_value_is_null(self) -> None:
        for kind in ("string", "int", "boolean", "array_of_strings", "zzz"):
            parameter = read_result(7, {"parameters": [{"id": "a", "kind": kind, "default": None}]}).parameters[0]
            assert (parameter.value, parameter.default, parameter.store) == (None, None, None)

    def test_a_default_is_read_like_a_value(self) -> None:
        assert read_result(7, entry("int", None, default="5")).parameters == (
            ResultParameter("a", "int", None, default=5),
        )
        assert "The default of result parameter 'a' of kind 'int' is 'x'; expected an integer." in refusal(
            entry("int", 1, default="x")
        )


FITTING = [
    ("boolean", True, True),
    ("boolean", "false", False),
    ("boolean", np.bool_(True), True),
    ("int", -3, -3),
    ("int", "+12", 12),
    ("int", 2**70, 2**70),
    ("int", 3.0, 3),
    ("int", np.int64(3), 3),
    ("integer", "-7", -7),
    ("float", 1.5, 1.5),
    ("float", 3, 3),
    ("float", "1e3", 1000.0),
    ("float", np.float32(0.5), 0.5),
    ("float", fractions.Fraction(1, 2), 0.5),
    ("number", 2.5, 2.5),
    ("string", "é😀", "é😀"),
    ("string", None, "None"),
    ("string", {"a": 1}, "{'a': 1}"),
    ("string", Path("/a"), "/a"),
    ("template", "{id}", "{id}"),
    ("credential", "KEY", "KEY"),
    ("array_of_strings", ("a", "b"), ["a", "b"]),
    ("array_of_strings", (word for word in "ab"), ["a", "b"]),
    ("array_of_strings", np.array(["a"]), ["a"]),
    ("array_of_templates", ["a"], ["a"]),
    ("array_of_ints", [1, 2**70], [1, 2**70]),
    ("array_of_integers", np.arange(3), [0, 1, 2]),
    ("array_of_floats", [1, 0.5, np.float64(2.5)], [1, 0.5, 2.5]),
    ("array_of_media_segments", [{"start": 0, "end": 1}], [{"start": 0, "end": 1}]),
    ("object", {"a": (1, None), 3: np.array([[1.5]]), "w": Word.ONE}, {"a": [1, None], "3": [[1.5]], "w": "one"}),
    ("requirements", {"paths": ["/a"]}, {"paths": ["/a"]}),
    ("filter", [1], [1]),
    ("int", None, None),
    ("boolean", None, None),
    ("array_of_strings", None, None),
]


@pytest.mark.parametrize(("kind", "value", "expected"), FITTING, ids=str)
def test_a_value_that_fits_its_kind_is_published_as_plain_json(kind: str, value: Any, expected: Any) -> None:
    plain = published(kind, value)

    assert plain == expected
    assert type(plain) is type(expected)
    assert json.loads(json.dumps(plain)) == expected


NOT_FITTING = [
    ("boolean", 1, "1; expected True, False"),
    ("boolean", "yes", "'yes'; expected True, False"),
    ("int", True, "True; expected an integer."),
    ("int", 3.5, "3.5; expected an integer."),
    ("int", "abc", "'abc'; expected an integer."),
    ("int", math.nan, "nan; expected an integer."),
    ("int", 10**5000, "<int whose repr raises ValueError>; expected an integer."),
    ("integer", [], "[]; expected an integer."),
    ("float", True, "True; expected a finite number."),
    ("float", math.inf, "inf; expected a finite number."),
    ("float", "nan", "'nan'; expected a finite number."),
    ("float", decimal.Decimal("1.5"), "Decimal('1.5'); expected a finite number."),
    ("string", "\ud800", "'\\ud800'; expected Unicode text, without a lone surrogate."),
    ("array_of_strings", "abc", "'abc'; expected a list of strings, not one text."),
    ("array_of_ints", [1, True], "[1, True]; expected a list of integers, without True."),
    ("object", [1], "[1]; expected a dict."),
    ("object", {"a": {1}}, "{'a': {1}}; expected a JSON value, without a set."),
    ("object", {"a": math.nan}, "{'a': nan}; expected a finite number."),
    ("object", {(1, 2): 1}, "{(1, 2): 1}; expected a JSON value, with strings as keys."),
    ("filter", "a\udcff", "'a\\udcff'; expected Unicode text"),
    ("zzz", object, "<class 'object'>; expected a JSON value, without a type."),
    (
        "object",
        {"a": Unprintable()},
        "<dict whose repr raises RuntimeError>; expected a JSON value, without a Unprintable.",
    ),
]


@pytest.mark.parametrize(("kind", "value", "expected"), NOT_FITTING, ids=lambda value: str(type(value)))
def test_a_value_that_does_not_fit_ends_the_job_with_its_name(kind: str, value: Any, expected: str) -> None:
    text = refusal(entry(kind, value))

    assert text.startswith(f"Job 7 has no result. Result parameter 'a' of kind '{kind}' is {expected}")
    assert text.endswith("Correct what process returns.")
    assert text.encode()


def test_every_wrong_entry_is_named_at_once() -> None:
    returned = {"parameters": [{"id": "a", "kind": "int", "value": "x"}, {"id": "b", "kind": "float", "value": "y"}]}
    text = refusal(returned)

    assert "'a' of kind 'int' is 'x'" in text
    assert "'b' of kind 'float' is 'y'" in text


def test_a_long_value_is_shortened() -> None:
    text = refusal(entry("int", "x" * 500))

    assert "x" * 76 + "..." in text
    assert "x" * 77 not in text


def test_a_value_within_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)

    assert "expected a JSON value of at most 100 levels" in refusal(entry("filter", endless))


def test_items_the_reference_left_out_are_left_out_and_named() -> None:
    result = read_result(7, entry("array_of_ints", [1, "x", 2.0, None, 3.5, {}]))

    assert result.parameters[0].value == [1, 2]
    (warning,) = result.warnings
    assert warning.startswith("Job 7: Result parameter 'a' of kind 'array_of_ints' has a value that does not fit; ")
    assert warning.endswith("left out: 'x', None, 3.5, ....")


def test_what_is_no_list_at_all_is_null_and_named() -> None:
    result = read_result(7, entry("array_of_strings", 5))

    assert result.parameters[0].value is None
    assert "left out: 5." in result.warnings[0]


def test_an_unknown_kind_is_published_with_its_value_and_named() -> None:
    result = read_result(7, entry("zzz", {"a": [1.5, None]}))

    assert result.parameters == (ResultParameter("a", "zzz", {"a": [1.5, None]}),)
    assert result.warnings == (
        "Job 7: Result parameter 'a' has the unknown kind 'zzz'; its value is published as it is.",
    )


@given(
    returned=ANYTHING
    | st.fixed_dictionaries({}, optional={"destination_paths": ANYTHING, "parameters": ANYTHING | st.lists(ANYTHING)})
)
def test_whatever_is_returned_is_a_result_that_can_be_published_or_a_clear_error(returned: Any) -> None:
    try:
        result = read_result(7, returned)
    except ResultError as error:
        assert "of kind" in str(error)  # noqa: PT017 - both ends are right, each in its way
        return
    body = dump(JobResult(7, JobState.COMPLETED, result.destination_paths, result.parameters), "now")

    assert json.loads(body)["destination_paths"] == list(result.destination_paths)
