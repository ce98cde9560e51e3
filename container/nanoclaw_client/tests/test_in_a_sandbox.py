"""`ncl` in a sandbox, run as a process: its words, its streams and its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from answering import WAIT_S, answering, line
from nanoclaw_wire.socket_path import NCL_SOCKET_VARIABLE

VERBS = [
    {"command": "groups list", "help": "List them.", "parameters": [{"name": "limit", "kind": "int", "help": "Most."}]}
]


@pytest.fixture
def socket(tmp_path: Path) -> Path:
    return tmp_path / "socket" / "ncl.sock"


def ncl(socket: Path | None, *words: str) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in os.environ.items() if name != NCL_SOCKET_VARIABLE}
    return subprocess.run(
        [sys.executable, "-m", "nanoclaw_client", *words],
        env=variables | ({NCL_SOCKET_VARIABLE: str(socket)} if socket else {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S,
    )


def test_ncl_without_words_prints_help(socket):
    with answering(socket, line(ok=True, data=VERBS), line(ok=True, data=VERBS)) as requests:
        bare, explicit = ncl(socket), ncl(socket, "help")
    assert [request["words"] for request in requests] == [["help"], ["help"]]
    assert (bare.returncode, bare.stdout) == (0, explicit.stdout)
    assert "Usage: ncl [--json] RESOURCE VERB" in explicit.stdout
    assert "\n  groups list  List them.\n" in explicit.stdout


def test_help_of_a_resource_accepts_either_word_order(socket):
    with answering(socket, line(ok=True, data=VERBS), line(ok=True, data=VERBS)) as requests:
        before, after = ncl(socket, "help", "groups"), ncl(socket, "groups", "help")
    assert [request["words"] for request in requests] == [["help", "groups"]] * 2
    assert before.stdout == after.stdout == "ncl groups list [options]\n    List them.\n      --limit NUMBER  Most.\n"


def test_ncl_sends_a_local_command_of_the_host_as_a_verb(socket):
    error = {"code": "unknown-command", "message": "there is no command 'serve'; `ncl help` lists the commands."}
    with answering(socket, line(ok=False, error=error)) as requests:
        done = ncl(socket, "serve")
    assert [request["words"] for request in requests][:1] == [["serve"]]
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error (unknown-command): {error['message']}\n"


def test_progress_goes_to_stderr_with_json_too(socket):
    with answering(socket, line(progress="step 1 of 2") + line(ok=True, data="built")):
        done = ncl(socket, "groups", "restart", "--json")
    assert (done.returncode, done.stderr) == (0, "step 1 of 2\n")
    assert json.loads(done.stdout) == {"id": "cli", "ok": True, "data": "built"}


def test_ncl_home_option_is_refused(socket):
    done = ncl(socket, "--home", "/elsewhere", "groups", "list")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error (invalid-args): --home: not available in a sandbox, got /elsewhere.")


def test_ncl_without_a_runner_exits_2(socket):
    assert ncl(socket, "groups", "list").returncode == 2
    outside = ncl(None, "groups", "list", "--json")
    assert (outside.returncode, outside.stderr) == (2, "")
    assert json.loads(outside.stdout)["error"]["code"] == "transport-error"


def test_ncl_version_is_that_of_nanoclaw(socket):
    assert ncl(socket, "--version").stdout == "nanoclaw 0.1.0\n"
