"""The fake of the Messages API validates requests like the platform, and follows its script."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError, ClientSession

from nanoclaw_core.testing.fake_messages_api import DEFAULT_KEY, FakeMessagesApi, serve_in_thread
from nanoclaw_core.testing.messages_script import Step, echo, read_script

HEADERS = {"x-api-key": DEFAULT_KEY, "anthropic-version": "2023-06-01"}


def _body(*messages: Any, **more: Any) -> dict[str, Any]:
    sent = messages or ({"role": "user", "content": "hello"},)
    return {"model": "m", "max_tokens": 9, "messages": list(sent), "tools": [{"name": "Bash"}]} | more


async def _post(api: FakeMessagesApi, body: Any, headers: dict[str, str] | None = None) -> tuple[int, Any, Any]:
    async with (
        ClientSession() as client,
        client.post(f"{api.url}/v1/messages", json=body, headers=HEADERS if headers is None else headers) as answer,
    ):
        text = await answer.text()
        return answer.status, json.loads(text) if answer.content_type == "application/json" else text, answer.headers


def _ask(body: Any, *steps: Step, headers: dict[str, str] | None = None, **options: Any) -> tuple[int, Any, Any]:
    async def scenario() -> tuple[int, Any, Any]:
        async with FakeMessagesApi(steps, **options) as api:
            return await _post(api, body, headers)

    return asyncio.run(scenario())


@pytest.mark.parametrize("headers", [{}, {"x-api-key": "wrong"}, {"authorization": "Bearer wrong"}])
def test_wrong_key_is_refused(headers: dict[str, str]) -> None:
    status, body, answer_headers = _ask(_body(), headers=headers | {"anthropic-version": "2023-06-01"})
    assert (status, body["error"]["type"]) == (401, "authentication_error")
    assert body["request_id"] == answer_headers["request-id"]


@pytest.mark.parametrize(("beta", "status"), [("oauth-2025-04-20", 200), ("another", 401)])
def test_subscription_token_needs_its_beta_header(beta: str, status: int) -> None:
    headers = {"authorization": "Bearer token", "anthropic-beta": beta, "anthropic-version": "2023-06-01"}
    assert _ask(_body(), headers=headers, bearer="token")[0] == status


_CALL = {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {}}]}
_ANSWERED = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "x"}]}
_ASKED = {"role": "user", "content": "hello"}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ([], "object"),
        ({"max_tokens": 9, "messages": [_ASKED]}, "model: Field required"),
        ({"model": "m", "messages": [_ASKED]}, "max_tokens: Field required"),
        (_body(max_tokens=0), "max_tokens"),
        (_body(messages=[]), "at least one message"),
        (_body(_CALL), 'must use the "user" role'),
        (_body({"role": "user", "content": [{"type": "text", "text": ""}]}), "non-empty"),
        (_body({"role": "robot", "content": "x"}), "role"),
        (_body(_ASKED, {"role": "robot", "content": "x"}), "role"),
        (_body(_ANSWERED), "unexpected `tool_use_id`"),
        (_body(_ASKED, _CALL, _ASKED), "without `tool_result` blocks"),
        (_body(_ASKED, _CALL), "without `tool_result` blocks"),
    ],
)
def test_malformed_body_is_refused(body: Any, words: str) -> None:
    status, answer, _ = _ask(body)
    assert (status, answer["error"]["type"]) == (400, "invalid_request_error")
    assert words in answer["error"]["message"]


def test_tool_exchange_is_accepted() -> None:
    assert _ask(_body(_ASKED, _CALL, _ANSWERED))[0] == 200


def test_stream_has_the_platforms_events_in_order() -> None:
    _, text, _ = _ask(_body(stream=True), Step(text="some words", tool="Bash", input={"command": "ls"}))
    names = [line.removeprefix("event: ") for line in text.splitlines() if line.startswith("event: ")]
    assert names == [
        *("message_start", "ping", "content_block_start", "content_block_delta", "content_block_stop"),
        *("content_block_start", "content_block_delta", "content_block_delta", "content_block_stop"),
        *("message_delta", "message_stop"),
    ]


def test_answer_without_streaming_is_one_object() -> None:
    status, body, _ = _ask(_body(), Step(tool="Bash", input={"command": "ls"}))
    assert (status, body["stop_reason"]) == (200, "tool_use")
    assert body["content"][0]["input"] == {"command": "ls"}


@pytest.mark.parametrize("status", [400, 401, 403, 413, 429, 500, 529])
def test_scripted_error_has_the_platforms_format(status: int) -> None:
    got, body, headers = _ask(_body(), Step(error=status, retry_after_s=7))
    assert (got, body["type"]) == (status, "error")
    assert headers.get("retry-after") == ("7" if status == 429 else None)


def test_dropped_connection_truncates_the_answer() -> None:
    for stream in (True, False):
        with pytest.raises(ClientError):
            _ask(_body(stream=stream), Step(text="words " * 99, drop=True))


def test_held_answer_waits_for_its_release() -> None:
    async def scenario() -> None:
        async with FakeMessagesApi([Step(text="held", hold=True)]) as api:
            call = asyncio.create_task(_post(api, _body()))
            await api.wait_for_requests(1)
            assert not call.done()
            api.release()
            assert (await call)[0] == 200

    asyncio.run(scenario())


def test_steps_run_in_order_and_match_their_condition() -> None:
    async def scenario() -> list[str]:
        steps = [Step(text="special", when="magic"), Step(text="twice", times=2)]
        async with FakeMessagesApi(steps) as api:
            asked = ["one", "the magic word", "two", "three"]
            answers = [await _post(api, _body({"role": "user", "content": text})) for text in asked]
            assert api.script.is_done
            side = await _post(api, _body(tools=[]))
            assert side[1]["content"][0]["text"] == "You said: hello"
            return [answer[1]["content"][0]["text"] for answer in answers]

    assert asyncio.run(scenario()) == ["twice", "special", "twice", "You said: three"]


def test_echo_is_addressed_to_the_messages_origin() -> None:
    prompt = '<context timezone="UTC" />\n<message id="2" from="terminal" sender="A" time="x">1 &lt; 2</message>'
    assert echo(prompt) == '<message to="terminal">You said: 1 < 2</message>'
    assert echo("plain words") == "You said: plain words"


def test_echo_of_a_host_note_has_no_address() -> None:
    prompt = '<message id="2" from="terminal" sender="A">hi</message>\n<host-note time="x">approved</host-note>'
    assert echo(prompt) == "You said: approved"


def test_tokens_are_counted_and_other_paths_are_not_found() -> None:
    async def scenario() -> None:
        async with FakeMessagesApi() as api, ClientSession(api.url, headers=HEADERS) as client:
            body = {"model": "m", "messages": [_ASKED]}
            async with client.post("/v1/messages/count_tokens", json=body) as answer:
                assert (await answer.json())["input_tokens"] > 0
            for method in ("HEAD", "GET"):
                async with client.request(method, "/api/hello") as answer:
                    assert answer.status == 404

    asyncio.run(scenario())


def test_request_knows_its_conversation() -> None:
    with serve_in_thread() as api:
        asyncio.run(
            _post(api, _body(_ASKED, {"role": "assistant", "content": "aha"}, {"role": "user", "content": "so"}))
        )
        [request] = api.conversations
        assert request.says("hello")
        assert request.says("aha")
        assert not request.says("goodbye")
        assert request.last_said == "so"


def test_last_text_follows_an_interruption() -> None:
    blocks = ["hello\n", "[Request interrupted by user]\n", "in short"]
    with serve_in_thread([Step(text="never", hold=True, when="hello"), Step(text="better")]) as api:
        content = [{"type": "text", "text": text} for text in blocks]
        _, answer, _ = asyncio.run(_post(api, _body({"role": "user", "content": content})))
        assert answer["content"] == [{"type": "text", "text": "better"}]
        assert api.conversations[0].last_said == "in short"


def test_script_is_read_from_json_and_typos_are_named() -> None:
    assert read_script('[{"text": "hi"}]') == [Step(text="hi")]
    with pytest.raises(ValueError, match="txet"):
        read_script('[{"txet": "hi"}]')


def test_program_prints_its_address(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text('[{"text": "from the file"}]')
    command = [sys.executable, "-m", "nanoclaw_core.testing.fake_messages_api", "--script", str(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        api = FakeMessagesApi(port=int(address.rpartition(":")[2]))
        assert asyncio.run(_post(api, _body()))[1]["content"][0]["text"] == "from the file"
        process.terminate()
        assert process.wait(30) == 0
