"""The frames of `ncl`."""

import json

import cattrs
import pytest
from nanoclaw_wire.frames import Answer, Code, Request


def test_answer_with_data_has_wire_form() -> None:
    assert Answer(id="1", ok=True, data=[1]).as_json_object() == {"id": "1", "ok": True, "data": [1]}


def test_answer_with_error_has_code_and_message() -> None:
    refusal = Answer(id="1", ok=False, code=Code.NOT_FOUND, message="no such group")
    assert refusal.as_json_object() == {
        "id": "1",
        "ok": False,
        "error": {"code": "not-found", "message": "no such group"},
    }


def test_answer_without_code_is_handler_error() -> None:
    assert Answer(id="1", ok=False).as_json_object()["error"] == {"code": "handler-error", "message": ""}


@pytest.mark.parametrize("data", [object(), {1, 2}, b"bytes", float("nan"), {"deep": [object()]}, {("a", "b"): 1}])
def test_answer_with_other_data_is_handler_error(data: object) -> None:
    """Data that is not JSON still gets an answer."""
    line = json.loads(Answer(id="1", ok=True, data=data).as_line())
    assert (line["id"], line["ok"], line["error"]["code"]) == ("1", False, "handler-error")


def test_as_line_is_one_line_of_wire_form() -> None:
    answer = Answer(id="1", ok=True, data="two\nlines")
    assert answer.as_line().count(b"\n") == 1
    assert json.loads(answer.as_line()) == answer.as_json_object()


@pytest.mark.invariant(number=7)
def test_request_has_no_field_for_its_sender() -> None:
    raw = json.loads('{"id": "1", "words": ["help"], "options": {}, "caller": {"operator": true}}')
    with pytest.raises(cattrs.ClassValidationError):
        cattrs.Converter(forbid_extra_keys=True).structure(raw, Request)
