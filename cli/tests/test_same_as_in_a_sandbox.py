"""The same frame gives the same bytes and the same exit code on the host and in a sandbox."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from answering import WAIT_S, answering, line
from nanoclaw_client.connection import Frame
from nanoclaw_wire.socket_path import NCL_SOCKET_VARIABLE

ROWS = [{"id": "ag-1", "name": "Ada", "on": True, "model": None}, {"id": "ag-2", "name": "Grüße\x1b[2J", "on": False}]
FRAMES: Mapping[str, Frame] = {
    "a table": {"ok": True, "data": ROWS},
    "an empty list": {"ok": True, "data": []},
    "a text": {"ok": True, "data": "Done.\nRestart it."},
    "null": {"ok": True, "data": None},
    "something nested": {"ok": True, "data": {"a": [1, {"b": None}]}},
    "a refusal": {"ok": False, "error": {"code": "forbidden", "message": "agents may not use groups delete"}},
    "a pending approval": {"ok": False, "error": {"code": "approval-pending", "message": "apr-1 awaits approval"}},
    "a wrong option": {"ok": False, "error": {"code": "invalid-args", "message": "groups list: unknown option --x"}},
    "no such verb": {"ok": False, "error": {"code": "unknown-command", "message": "there is no command 'qqqq list'"}},
    "an error without a message": {"ok": False},
}
EXIT_CODES = {"forbidden": 1, "approval-pending": 1, "invalid-args": 2, "unknown-command": 2}


def run(module: str, words: list[str], environment: Mapping[str, str]) -> tuple[int, bytes, bytes]:
    done = subprocess.run(
        [sys.executable, "-m", module, *words],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=WAIT_S,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["for people", "as JSON"])
@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_ncl_prints_the_same_bytes_on_host_and_in_sandbox(tmp_path: Path, frame: Frame, form: list[str]):
    answer = line(progress="one moment") + line(**frame)
    words = ["qqqq", "list", "--limit=3", *form]
    with answering(tmp_path / "run" / "ncl.sock", answer, answer) as requests:
        outside = run("nanoclaw_cli", words, {"NANOCLAW_HOME": str(tmp_path)})
        inside = run("nanoclaw_client", words, {NCL_SOCKET_VARIABLE: str(tmp_path / "run" / "ncl.sock")})
    assert inside == outside
    half = len(requests) // 2
    assert requests[:half] == requests[half:]
    error = frame.get("error", {}) if not frame["ok"] else None
    assert inside[0] == (0 if error is None else EXIT_CODES.get(error.get("code", ""), 1))
    assert inside[2].startswith(b"one moment\n")


@pytest.mark.parametrize("words", [["groups", "-x"], ["groups", "--=1"], ["--frob"], ["groups", "--home"], ["--"]])
def test_ncl_refuses_an_invalid_command_line_the_same_way(tmp_path: Path, words: list[str]):
    outside = run("nanoclaw_cli", words, {"NANOCLAW_HOME": str(tmp_path)})
    inside = run("nanoclaw_client", words, {})
    assert inside == outside
    assert inside[0] == 2
