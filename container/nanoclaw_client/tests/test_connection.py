"""One request out, one answer in, over a real socket."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from answering import answering, line
from nanoclaw_client.connection import Endpoint, ask
from nanoclaw_client.errors import NotListening, TransportError


@pytest.fixture
def host(tmp_path: Path) -> Endpoint:
    return Endpoint(tmp_path / "ncl.sock", "the host", "See its log.")


def test_ask_sends_words_and_options_but_no_identity(host):
    with answering(host.socket, line(ok=True, data=1)) as requests:
        ask(host, ["groups", "get"], {"id": "ag-1"}, on_progress=print)
    assert requests == [{"id": "cli", "words": ["groups", "get"], "options": {"id": "ag-1"}}]


def test_ask_reads_a_long_answer_completely(host):
    with answering(host.socket, line(ok=True, data="x" * 3_000_000)):
        assert len(ask(host, ["x"], {}, on_progress=print)["data"]) == 3_000_000


def test_ask_passes_on_progress_before_the_answer(host):
    progress: list[str] = []
    with answering(host.socket, line(progress="step 1") + line(progress="step 2") + line(ok=True, data="done")):
        answer = ask(host, ["x"], {}, on_progress=progress.append)
    assert (progress, answer["data"]) == (["step 1", "step 2"], "done")


def test_ask_progress_without_answer_fails(host):
    with (
        answering(host.socket, line(progress="step 1")),
        pytest.raises(TransportError, match=r"the host closed the connection before it answered\. See its log\."),
    ):
        ask(host, ["x"], {}, on_progress=lambda _text: None)


@pytest.mark.parametrize("answer", [b"nonsense\n", b"[]\n", b'{"ok": "yes"}\n', b'{"progress": 3}\n', b"\xff\n"])
def test_ask_invalid_frame_fails(host, answer):
    with answering(host.socket, answer), pytest.raises(TransportError, match="sent an invalid frame"):
        ask(host, ["x"], {}, on_progress=print)


def test_ask_reads_the_answer_to_an_unread_request(host):
    with answering(host.socket, line(ok=False, error={"code": "transport-error", "message": "too long"}), reads=False):
        answer = ask(host, ["x"], {"text": "x" * 3_000_000}, on_progress=print)
    assert answer["error"]["message"] == "too long"


def test_ask_missing_socket_raises_not_listening(host):
    with pytest.raises(NotListening, match=r"the host is not listening\. See its log\."):
        ask(host, ["x"], {}, on_progress=print)
    host.socket.write_text("")
    with pytest.raises(NotListening):
        ask(host, ["x"], {}, on_progress=print)


def test_ask_silent_host_times_out(host):
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(host.socket))
        silent.listen()
        with pytest.raises(TransportError, match=r"did not answer within 0\.05 s\. See its log\."):
            ask(host, ["x"], {}, timeout_s=0.05, on_progress=print)
