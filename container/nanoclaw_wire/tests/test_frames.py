"""The frames of `ncl`."""

import json

import cattrs
import pytest
from nanoclaw_wire.frames import Answer, Code, Request


def test_an_answer_with_data_is_its_data() -> None:
    assert Answer(id="1", ok=True, data=[1]).as_json_object() == {"id": "1", "ok": True, "data": [1]}


def test_a_refusal_carries_its_code_and_message() -> None:
    refusal = Answer(id="1", ok=False, code=Code.NOT_FOUND, message="no such group")
    assert refusal.as_json_object() == {
        "id": "1",
        "ok": False,
        "error": {"code": "not-found", "message": "no such group"},
    }


def test_a_refusal_without_a_code_is_a_handler_error() -> None:
    assert Answer(id="1", ok=False).as_json_object()["error"] == {"code": "handler-error", "message": ""}


@pytest.mark.parametrize("data", [object(), {1, 2}, b"bytes", float("nan"), {"deep": [object()]}, {("a", "b"): 1}])
def test_data_that_is_no_json_makes_a_handler_error(data: object) -> None:
    line = json.loads(Answer(id="1", ok=True, data=data).as_line())
    assert (line["id"], line["ok"], line["error"]["code"]) == ("1", False, "handler-error")


def test_a_line_is_one_line_and_the_wire_form() -> None:
    answer = Answer(id="1", ok=True, data="two\nlines")
    assert answer.as_line().count(b"\n") == 1
    assert json.loads(answer.as_line()) == answer.as_json_object()


def test_invariant_07_a_request_has_no_field_for_who_asks() -> None:
    raw = json.loads('{"id": "1", "words": ["help"], "options": {}, "caller": {"operator": true}}')
    with pytest.raises(cattrs.ClassValidationError):
        cattrs.Converter(forbid_extra_keys=True).structure(raw, Request)
