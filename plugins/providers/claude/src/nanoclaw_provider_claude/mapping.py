"""Translates messages of the Claude Agent SDK into the provider events of the wire.

It is pure except for its own memory of the conversation, and knows no process and no event loop.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from attrs import evolve
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
from nanoclaw_wire.exhaustion import EXHAUSTED

if TYPE_CHECKING:
    from claude_agent_sdk import AssistantMessage, Message, RateLimitEvent, ResultMessage, SystemMessage

MAX_MESSAGE_CHARACTERS = 2_000  # of an error's text in the log
MAX_NAMED_PROMPTS = 64  # a result of the program names only the first 64 prompts of its turn

_BUN_CODES = (
    "ProcessFdQuotaExceeded",
    "SystemFdQuotaExceeded",
)  # Bun, which runs the program, may report EMFILE by these names
_CODES = [errno.errorcode[number] for number in sorted(EXHAUSTED)]
_EXHAUSTED = re.compile(rf"\b({'|'.join([*_CODES, *_BUN_CODES])})\b")
_STALE = re.compile(r"no conversation found|ENOENT.*\.jsonl|session.*not found", re.IGNORECASE)
_UNREACHABLE = re.compile(r"connection|ECONN|ENOTFOUND|EAI_AGAIN|socket|fetch failed|timed? ?out", re.IGNORECASE)
_OUT_OF_CREDIT = re.compile(r"credit balance|billing", re.IGNORECASE)

_CLASS_OF_STATUS: Mapping[int, tuple[ErrorClass, bool]] = {
    400: (ErrorClass.REFUSED, False),
    401: (ErrorClass.AUTHENTICATION, False),
    402: (ErrorClass.QUOTA, False),
    403: (ErrorClass.AUTHENTICATION, False),
    404: (ErrorClass.REFUSED, False),
    408: (ErrorClass.CONNECTION, True),
    413: (ErrorClass.REFUSED, False),
    422: (ErrorClass.REFUSED, False),
    429: (ErrorClass.QUOTA, True),
    502: (ErrorClass.CONNECTION, True),  # the gateway's own status for an upstream that is down
    503: (ErrorClass.CONNECTION, True),
    504: (ErrorClass.CONNECTION, True),
}
_CLASS_OF_NAME: Mapping[str, tuple[ErrorClass, bool]] = {
    "authentication_failed": (ErrorClass.AUTHENTICATION, False),
    "billing_error": (ErrorClass.QUOTA, False),
    "rate_limit": (ErrorClass.QUOTA, True),
    "invalid_request": (ErrorClass.REFUSED, False),
    "server_error": (ErrorClass.OVERLOADED, True),
}


def classify(text: str, *, status: int | None = None, name: str | None = None, is_of_model: bool = False) -> Error:
    """Build an Error from a text, the HTTP status of the failed call, and the SDK's name for the error.

    Args:
        text: The error's text; empty if there is none.
        status: The HTTP status; None if there was no response.
        name: The SDK's name for the error, or None.
        is_of_model: True if the model may have chosen the text. Such a text never means an exhausted machine.
    """
    message = text.strip()[:MAX_MESSAGE_CHARACTERS] or "claude failed without a message"
    if status is None and not is_of_model and _EXHAUSTED.search(text):
        kind, retryable = ErrorClass.EXHAUSTED, True
    elif status is None and _STALE.search(text):
        kind, retryable = ErrorClass.STALE_CONTINUATION, True
    elif status == 400 and _OUT_OF_CREDIT.search(text):
        kind, retryable = ErrorClass.QUOTA, False
    elif status is not None and status in _CLASS_OF_STATUS:
        kind, retryable = _CLASS_OF_STATUS[status]
    elif status is not None:
        kind, retryable = (ErrorClass.OVERLOADED, True) if status >= 500 else (ErrorClass.REFUSED, False)
    elif _UNREACHABLE.search(text):
        kind, retryable = ErrorClass.CONNECTION, True
    elif name is not None and name in _CLASS_OF_NAME:
        kind, retryable = _CLASS_OF_NAME[name]
    else:
        kind, retryable = ErrorClass.INTERNAL, False
    return Error(message=message, retryable=retryable, kind=kind)


class Translator:
    """Translates the messages of one conversation into events, and tracks whether a turn is open.

    Every turn gets exactly one `Result` or `Error`. The open tools of an interrupted turn end with it.

    Args:
        is_resumed: True if the conversation began in another process. The cost of its first turn is then unknown.
    """

    def __init__(self, *, is_resumed: bool = False) -> None:
        self.is_interrupted = False  # set by the interrupt, cleared at the turn's end
        self.is_underway = False  # the model works on a turn now
        self._waiting: list[str] = []  # ids of prompts without a result, oldest first
        self._taken: list[str] = []  # ids of prompts that the running turn has taken in, if known
        self._tools: dict[str, str] = {}
        self._cost_usd = None if is_resumed else 0.0  # None: the earlier cost of the conversation is unknown
        self._model: str | None = None
        self._error_name: str | None = None
        self._is_synthetic = False  # True if the program, not the model, wrote the last message

    @property
    def is_turn_open(self) -> bool:
        """True if a Result or an Error is still due."""
        return self.is_underway or bool(self._waiting)

    def expect(self, prompt_id: str) -> None:
        """Record a prompt, for which a result is due."""
        self._waiting.append(prompt_id)

    def translate(self, message: Message) -> list[Event]:
        """Return the events of one message, at least a sign of life."""
        import claude_agent_sdk as sdk

        match message:
            case sdk.ResultMessage():
                return self._result(message)
            case sdk.RateLimitEvent():
                return [Alive(), *_rate_limit(message)]
            case sdk.AssistantMessage():
                self._record_message(message)
                return [Alive(), *self._took_in(message.user_message_uuids or ())]
            case sdk.StreamEvent():
                return [Alive(), *self._took_in(message.user_message_uuids or ())]
            case sdk.SystemMessage():
                return [Alive(), *self._system(message)]
        return [Alive()]

    def tool_started(self, call_id: str, tool: str, arguments: Mapping[str, Any]) -> ToolStarted:
        """Record the start of a tool call, and return its event."""
        self._tools[call_id] = tool
        timeout_ms = arguments.get("timeout") if tool == "Bash" else None
        timeout_s = timeout_ms / 1000 if isinstance(timeout_ms, int | float) and timeout_ms > 0 else None
        return ToolStarted(tool=tool, timeout_s=timeout_s)

    def tool_ended(self, call_id: str) -> list[Event]:
        """Record the end of a tool call, and return its events. Return none if the end was already reported."""
        tool = self._tools.pop(call_id, None)
        if tool is None:
            return []
        # The model reads new prompts with the results of its tools, but the program reports them only at the end.
        return [ToolEnded(tool=tool), *self._took_in(() if self._tools or self.is_interrupted else self._waiting)]

    def fail(self, error: Error) -> list[Event]:
        """End the open turn with an error from outside the conversation. Return no events if no turn is open."""
        if not self.is_turn_open:
            return []
        answers = self._taken or None  # unknown if the turn took in no prompt yet
        self._waiting.clear()
        return [*self._close_turn(), evolve(error, answers=answers)]

    def _record_message(self, message: AssistantMessage) -> None:
        if message.parent_tool_use_id is not None:
            return  # a subagent's message belongs to the turn of its tool
        self.is_underway = True
        self._is_synthetic = message.model == "<synthetic>"
        self._model = self._model if self._is_synthetic else message.model
        self._error_name = message.error

    def _system(self, message: SystemMessage) -> list[Event]:
        data = message.data
        match message.subtype:
            case "init":
                self.is_underway = True
                return [Init(continuation=str(data["session_id"]))]  # each turn has one, before the model call
            case "api_retry":
                return [_retry(data)]
            case "compact_boundary":  # no Result, because the turn goes on (⚠10)
                before = (data.get("compact_metadata") or {}).get("pre_tokens")
                return [Progress(message=f"conversation compacted, {before} tokens before")]
            case "session_writes_lost":  # after the last answer; a later conversation may lack messages
                lost = ", ".join(data.get("lost") or ())
                return [Progress(message=f"claude could not save {lost} ({data.get('error_code')})")]
            case "task_notification":
                return [Progress(message=f"background task {data.get('status')}")]
        return []

    def _result(self, message: ResultMessage) -> list[Event]:
        answers = _prompts_of(message)
        if answers is None:
            self._waiting = self._waiting[1:]  # most likely the result of the oldest prompt
        elif len(answers) >= MAX_NAMED_PROMPTS:
            answers, self._waiting = None, []  # the turn may have taken in any of the others, too
        else:
            self._waiting = [prompt for prompt in self._waiting if prompt not in answers]
        usage = self._usage(message)
        return [Alive(), *self._close_turn(), *usage, evolve(self._outcome(message), answers=answers)]

    def _took_in(self, prompts: Collection[str]) -> list[Event]:
        """Return an event for the prompts that the running turn newly took in; none if all are reported."""
        new = [prompt for prompt in self._waiting if prompt in prompts and prompt not in self._taken]
        self._taken += new
        return [TookIn(pushes=self._taken)] if new else []

    def _close_turn(self) -> list[Event]:
        ended: list[Event] = [ToolEnded(tool=tool) for tool in self._tools.values()]
        self._tools.clear()
        self._taken = []
        self.is_underway = False
        return ended

    def _outcome(self, message: ResultMessage) -> Result | Error:
        was_interrupted, self.is_interrupted = self.is_interrupted, False
        name, self._error_name = self._error_name, None
        aborted = (message.terminal_reason or "").startswith("aborted")
        if aborted or (was_interrupted and message.subtype == "error_during_execution"):
            return Result(text=None)
        if not message.is_error and message.subtype == "success":
            return Result(text=message.result or None)
        reported = "; ".join(message.errors or ())
        is_of_model = not reported and not self._is_synthetic
        text = reported or message.result or message.subtype
        return classify(text, status=message.api_error_status, name=name, is_of_model=is_of_model)

    def _usage(self, message: ResultMessage) -> list[Event]:
        counts = message.usage or {}
        total_usd = message.total_cost_usd
        cost_usd = None if total_usd is None or self._cost_usd is None else max(total_usd - self._cost_usd, 0.0)
        # The SDK reports the sum over the conversation, not the turn, and goes on from it after a resume.
        self._cost_usd = self._cost_usd if total_usd is None else total_usd
        usage = Usage(
            input_tokens=int(counts.get("input_tokens") or 0),
            output_tokens=int(counts.get("output_tokens") or 0),
            cache_read_tokens=int(counts.get("cache_read_input_tokens") or 0),
            cache_write_tokens=int(counts.get("cache_creation_input_tokens") or 0),
            cost_usd=cost_usd,
            model=self._model,
        )
        return [usage] if usage.input_tokens or usage.output_tokens else []


def _prompts_of(message: ResultMessage) -> list[str] | None:
    """Return the prompts that a turn took in, oldest first; None if the program does not report them."""
    named = dict.fromkeys([*(message.user_message_uuids or ()), message.user_message_uuid])
    prompts = [prompt for prompt in named if prompt is not None]
    return None if not prompts and message.origin is None else prompts


def _retry(data: Mapping[str, Any]) -> Progress:
    attempt, status = f"{data.get('attempt')}/{data.get('max_retries')}", data.get("error_status")
    # Without a status there was no response.
    error = ErrorClass.CONNECTION if status is None else classify("", status=status).kind
    return Progress(message=f"model call failed (status {status}), retry {attempt}", error=error)


def _rate_limit(message: RateLimitEvent) -> list[Event]:
    """Return progress about a limit that is near or reached. The turn's own error reports a failure."""
    info = message.rate_limit_info
    return [] if info.status == "allowed" else [Progress(message=f"rate limit {info.status} ({info.rate_limit_type})")]
