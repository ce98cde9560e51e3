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
    return Endpoint(tmp_path / "ncl.sock", "the host", "look at its log")


def test_a_request_has_words_and_options_and_nothing_of_who_asks(host):
    with answering(host.socket, line(ok=True, data=1)) as requests:
        ask(host, ["groups", "get"], {"id": "ag-1"}, on_progress=print)
    assert requests == [{"id": "cli", "words": ["groups", "get"], "options": {"id": "ag-1"}}]


def test_an_answer_longer_than_any_buffer_is_read_to_its_end(host):
    with answering(host.socket, line(ok=True, data="x" * 3_000_000)):
        assert len(ask(host, ["x"], {}, on_progress=print)["data"]) == 3_000_000


def test_progress_is_passed_on_as_it_comes_before_the_answer(host):
    heard: list[str] = []
    with answering(host.socket, line(progress="step 1") + line(progress="step 2") + line(ok=True, data="done")):
        answer = ask(host, ["x"], {}, on_progress=heard.append)
    assert (heard, answer["data"]) == (["step 1", "step 2"], "done")


def test_progress_without_an_answer_after_it_is_no_answer(host):
    with (
        answering(host.socket, line(progress="step 1")),
        pytest.raises(TransportError, match="the host hung up before it answered; look at its log"),
    ):
        ask(host, ["x"], {}, on_progress=lambda _text: None)


@pytest.mark.parametrize("answer", [b"nonsense\n", b"[]\n", b'{"ok": "yes"}\n', b'{"progress": 3}\n', b"\xff\n"])
def test_an_answer_that_is_no_frame_is_said_to_be_none(host, answer):
    with answering(host.socket, answer), pytest.raises(TransportError, match="no frame; is it of another version"):
        ask(host, ["x"], {}, on_progress=print)


def test_whoever_hangs_up_before_the_request_is_read_is_still_heard(host):
    with answering(host.socket, line(ok=False, error={"code": "transport-error", "message": "too long"}), reads=False):
        answer = ask(host, ["x"], {"text": "x" * 3_000_000}, on_progress=print)
    assert answer["error"]["message"] == "too long"


def test_a_socket_that_is_not_there_is_told_apart_from_one_that_fails(host):
    with pytest.raises(NotListening, match="the host does not listen; look at its log"):
        ask(host, ["x"], {}, on_progress=print)
    host.socket.write_text("")
    with pytest.raises(NotListening):
        ask(host, ["x"], {}, on_progress=print)


def test_a_host_that_says_nothing_in_time_is_said_to_be_late(host):
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(host.socket))
        silent.listen()
        with pytest.raises(TransportError, match=r"did not answer within 0\.05 s; look at its log"):
            ask(host, ["x"], {}, timeout_s=0.05, on_progress=print)
