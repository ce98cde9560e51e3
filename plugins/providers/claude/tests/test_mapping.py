"""Translation of the SDK's messages, parsed by the SDK itself, into events."""

from __future__ import annotations

from typing import Any

import pytest
from claude_agent_sdk._internal.message_parser import parse_message  # only it creates the SDK's messages
from nanoclaw_provider_claude.mapping import MAX_NAMED_PROMPTS, Translator, classify
from nanoclaw_wire.events import (
    Alive,
    Error,
    ErrorClass,
    Event,
    Init,
    Progress,
    Result,
    TookIn,
    ToolEnded,
    ToolStarted,
    Usage,
)


def _translate(translator: Translator, **data: Any) -> list[Event]:
    message = parse_message(data)
    assert message is not None
    return translator.translate(message)


def _system(subtype: str, **data: Any) -> dict[str, Any]:
    return {"type": "system", "subtype": subtype, "session_id": "s", "uuid": "u", **data}


def _result(**data: Any) -> dict[str, Any]:
    usual = {
        "type": "result",
        "subtype": "success",
        "is_error": False,
        "num_turns": 1,
        "session_id": "s",
        "result": "done",
    }
    return usual | {"duration_ms": 1, "duration_api_ms": 1} | data


def test_init_of_each_turn_has_the_continuation() -> None:
    """The runner learns that a turn began, so a model that thinks for minutes does not count as done."""
    translator = Translator()
    for _turn in range(2):
        assert _translate(translator, **_system("init")) == [Alive(), Init(continuation="s")]
    assert _translate(translator, **_system("init", session_id="other")) == [Alive(), Init(continuation="other")]


@pytest.mark.defect(number=10)
def test_compaction_is_progress_and_no_answer() -> None:
    translator = Translator()
    translator.expect("a")
    events = _translate(translator, **_system("compact_boundary", compact_metadata={"pre_tokens": 9}))
    assert events == [Alive(), Progress(message="conversation compacted, 9 tokens before")]
    assert translator.is_turn_open


def test_result_has_usage_and_text() -> None:
    translator = Translator()
    usage = {"input_tokens": 1, "output_tokens": 2, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 4}
    events = _translate(translator, **_result(usage=usage, total_cost_usd=0.5))
    used = Usage(input_tokens=1, output_tokens=2, cache_read_tokens=3, cache_write_tokens=4, cost_usd=0.5)
    assert events == [Alive(), used, Result(text="done")]


def test_usage_cost_is_the_increase_of_the_total() -> None:
    translator, usage = Translator(), {"input_tokens": 1, "output_tokens": 1}
    costs = [
        event.cost_usd
        for total_usd in (0.25, 0.75)
        for event in _translate(translator, **_result(usage=usage, total_cost_usd=total_usd))
        if isinstance(event, Usage)
    ]
    assert costs == [0.25, 0.5]


def test_usage_cost_after_resume_is_unknown() -> None:
    translator = Translator(is_resumed=True)
    events = _translate(translator, **_result(usage={"input_tokens": 1}, total_cost_usd=9.0))
    assert [event.cost_usd for event in events if isinstance(event, Usage)] == [None]


def test_interrupted_turn_has_no_text_and_ends_its_tools() -> None:
    translator = Translator()
    started = translator.tool_started("call", "Bash", {"timeout": 1500})
    translator.is_interrupted = True
    ended = _translate(translator, **_result(subtype="error_during_execution", is_error=True, result=None))
    assert started == ToolStarted(tool="Bash", timeout_s=1.5)
    assert ended == [Alive(), ToolEnded(tool="Bash"), Result(text=None)]
    assert translator.tool_ended("call") == []


def test_failure_after_interrupted_turn_is_an_error() -> None:
    translator = Translator()
    translator.is_interrupted = True
    _translate(translator, **_result())
    [*_, last] = _translate(translator, **_result(subtype="error_during_execution", is_error=True, errors=["broken"]))
    assert last == Error(message="broken", retryable=False, kind=ErrorClass.INTERNAL)


def test_prompt_without_result_keeps_turn_open() -> None:
    translator = Translator()
    translator.expect("a")
    translator.expect("b")
    _translate(translator, **_result(user_message_uuid="a", user_message_uuids=["a"]))
    assert translator.is_turn_open
    error = Error(message="gone", retryable=True, kind=ErrorClass.CONNECTION)
    assert (translator.fail(error), translator.fail(error)) == ([error], [])


def test_result_may_cover_several_prompts() -> None:
    translator = Translator()
    translator.expect("a")
    translator.expect("b")
    _translate(translator, **_result(user_message_uuid="b", user_message_uuids=["a", "b"]))
    assert not translator.is_turn_open


def test_result_names_the_prompts_it_covered() -> None:
    translator = Translator()
    translator.expect("a")
    translator.expect("b")
    [*_, first] = _translate(translator, **_result(user_message_uuid="b", user_message_uuids=["a", "b"]))
    assert first == Result(text="done", answers=["a", "b"])


def test_result_of_injected_turn_names_no_prompt() -> None:
    """A background task ends while a prompt waits for its own turn."""
    translator = Translator()
    translator.expect("a")
    [*_, last] = _translate(translator, **_result(origin={"kind": "task-notification"}))
    assert last == Result(text="done", answers=[])
    assert translator.is_turn_open


def test_result_with_full_list_names_nothing() -> None:
    """The program names at most 64 prompts, so the turn may have taken in others, too."""
    translator, prompts = Translator(), [str(number) for number in range(MAX_NAMED_PROMPTS + 1)]
    for prompt in prompts:
        translator.expect(prompt)
    [*_, last] = _translate(translator, **_result(user_message_uuid="0", user_message_uuids=prompts[:-1]))
    assert last == Result(text="done", answers=None)
    assert not translator.is_turn_open


def test_result_without_prompts_names_nothing() -> None:
    """A turn that was interrupted early reports no prompts."""
    translator = Translator()
    translator.expect("a")
    [*_, last] = _translate(translator, **_result())
    assert last == Result(text="done", answers=None)


def test_error_from_outside_names_prompts_of_the_turn() -> None:
    """The program dies in a turn of one prompt while another prompt waits."""
    translator = Translator()
    translator.expect("a")
    translator.expect("b")
    message = {"role": "assistant", "content": [], "model": "m"}
    data = {"type": "assistant", "message": message, "user_message_uuids": ["a"], "parent_tool_use_id": None}
    assert _translate(translator, **data) == [Alive(), TookIn(pushes=["a"])]
    error = Error(message="gone", retryable=True)
    assert translator.fail(error) == [Error(message="gone", retryable=True, answers=["a"])]


def test_retry_is_progress_with_trouble() -> None:
    retry = _system("api_retry", attempt=1, max_retries=5, error_status=529)
    assert _translate(Translator(), **retry) == [
        Alive(),
        Progress(message="model call failed (status 529), retry 1/5", error=ErrorClass.OVERLOADED),
    ]


def test_retry_without_status_is_connection_trouble() -> None:
    retry = _system("api_retry", attempt=2, max_retries=5, error_status=None, error="unknown")
    [progress] = [event for event in _translate(Translator(), **retry) if isinstance(event, Progress)]
    assert progress.error is ErrorClass.CONNECTION


@pytest.mark.parametrize(("status", "count"), [("allowed", 1), ("allowed_warning", 2), ("rejected", 2)])
def test_rate_limit_is_progress_unless_allowed(status: str, count: int) -> None:
    event = {"type": "rate_limit_event", "rate_limit_info": {"status": status}, "uuid": "u", "session_id": "s"}
    assert len(_translate(Translator(), **event)) == count


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (400, ErrorClass.REFUSED, False),
        (401, ErrorClass.AUTHENTICATION, False),
        (403, ErrorClass.AUTHENTICATION, False),
        (413, ErrorClass.REFUSED, False),
        (418, ErrorClass.REFUSED, False),
        (429, ErrorClass.QUOTA, True),
        (500, ErrorClass.OVERLOADED, True),
        (502, ErrorClass.CONNECTION, True),
        (529, ErrorClass.OVERLOADED, True),
    ],
)
def test_classify_by_status(status: int, kind: ErrorClass, retryable: bool) -> None:
    assert classify("API Error", status=status) == Error(message="API Error", retryable=retryable, kind=kind)


@pytest.mark.parametrize(
    ("text", "name", "kind"),
    [
        ("No conversation found with session ID: x", None, ErrorClass.STALE_CONTINUATION),
        ("ENOENT: no such file, open '/x/y.jsonl'", None, ErrorClass.STALE_CONTINUATION),
        ("API Error: Connection dropped (ECONNRESET)", "server_error", ErrorClass.CONNECTION),
        ("API Error: Request timed out", None, ErrorClass.CONNECTION),
        ("Overloaded", "server_error", ErrorClass.OVERLOADED),
        ("Invalid API key", "authentication_failed", ErrorClass.AUTHENTICATION),
        ("something else", None, ErrorClass.INTERNAL),
        ("", None, ErrorClass.INTERNAL),
    ],
)
def test_classify_by_text_without_status(text: str, name: str | None, kind: ErrorClass) -> None:
    assert classify(text, name=name).kind is kind


@pytest.mark.parametrize(
    "text",
    [
        "ENOSPC: no space left on device, write",
        "EDQUOT: disk quota exceeded, open '/x'",
        "EIO: i/o error, fsync",
        "EROFS: read-only file system, open '/x.jsonl'",
        "API Error: Unable to connect to API (EMFILE)",
        "ENFILE: file table overflow, open '/x'",
        "spawn ENOMEM",
        "error: bun ran out of file descriptors (ProcessFdQuotaExceeded)",
    ],
)
def test_classify_code_of_exhausted_machine_is_exhausted(text: str) -> None:
    """A later runner retries."""
    assert (classify(text).kind, classify(text, name="server_error").kind) == (ErrorClass.EXHAUSTED,) * 2


@pytest.mark.parametrize("text", ["ERR_ENOSPC_X", "enospc", "EIOX", "NOTENOSPC", "PATREIO", "no space left on device"])
def test_classify_other_word_is_not_exhausted(text: str) -> None:
    """A code counts only as a whole word."""
    assert classify(text).kind is not ErrorClass.EXHAUSTED


def test_classify_platform_error_is_not_exhausted() -> None:
    """With a status the text is the platform's, which may quote the conversation."""
    assert classify("messages.1: ENOSPC is no text", status=400).kind is ErrorClass.REFUSED


def _assistant_message(model: str, text: str) -> dict[str, Any]:
    message = {"id": "m", "role": "assistant", "model": model, "content": [{"type": "text", "text": text}]}
    return {"type": "assistant", "message": message, "session_id": "s", "uuid": "u"}


@pytest.mark.parametrize(
    ("model", "errors", "kind"),
    [
        ("claude-x", None, ErrorClass.INTERNAL),
        ("<synthetic>", None, ErrorClass.EXHAUSTED),
        ("claude-x", ["ENOSPC: no space left on device, write"], ErrorClass.EXHAUSTED),
    ],
)
def test_error_with_text_of_the_model_is_not_exhausted(model: str, errors: list[str] | None, kind: ErrorClass) -> None:
    """Otherwise the messages of such a model would be retried for ever."""
    translator, text = Translator(), "ENOSPC: no space left on device"
    _translate(translator, **_assistant_message(model, text))
    [*_, last] = _translate(translator, **_result(is_error=True, result=text, errors=errors))
    assert isinstance(last, Error)
    assert last.kind is kind


def test_unsaved_conversation_is_progress() -> None:
    """The program reports it at its exit, after all answers, and the log keeps it."""
    lost = _system("session_writes_lost", error_code="ENOSPC", lost=["transcript", "global_config"])
    expected = Progress(message="claude could not save transcript, global_config (ENOSPC)")
    assert _translate(Translator(), **lost) == [Alive(), expected]


def test_classify_account_without_credit_is_quota() -> None:
    error = classify("Your credit balance is too low to access the Anthropic API", status=400)
    assert (error.kind, error.retryable) == (ErrorClass.QUOTA, False)
