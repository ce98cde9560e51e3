"""`ncl logs`: the logs of the host and of sessions, as text and as JSON."""

from __future__ import annotations

import json
import logging
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nanoclaw_cli.log_entries import as_text, host_entries, runner_entries
from nanoclaw_cli.log_lines import LineFormatter
from nanoclaw_client.terminal_text import terminal_safe
from ncl_process import NCL, WAIT_S, ncl

SESSION = "ses-0123456789ab"
NAMES = st.from_regex(r"[a-z_]{1,8}", fullmatch=True).filter(lambda name: name not in vars(logging.makeLogRecord({})))
EXTRA = st.dictionaries(NAMES.filter(lambda name: name not in {"at", "level", "logger", "exception"}), st.text())


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def runner_log(home: Path) -> Path:
    path = home / "sessions" / SESSION / "out" / "runner.log"
    path.parent.mkdir(parents=True)
    return path


def logged(message: str, extra: dict[str, str]) -> str:
    record = logging.makeLogRecord({"name": "nanoclaw.test", "levelname": "WARNING", "msg": message, **extra})
    return LineFormatter().format(record)


@given(EXTRA)
def test_host_entries_read_back_all_values(extra: dict[str, str]) -> None:
    (entry,) = host_entries(logged("something happened", extra).split("\n"))
    del entry["at"]
    assert entry == {"level": "warning", "logger": "nanoclaw.test", "message": "something happened", **extra}


@given(st.lists(st.text().filter(lambda text: "\n" not in text)))
def test_runner_entries_have_no_control_characters(lines: list[str]) -> None:
    for entry in runner_entries(lines):
        assert terminal_safe(as_text(entry)) == as_text(entry)


def test_logs_of_a_chat_share_a_correlation_id(home: Path) -> None:
    """A chat leaves lines in the host's log and in its session's log."""
    assert ncl(home, "chat", "hello", environment={"DOCKER_HOST": "unix:///nowhere.sock"}).returncode == 0
    entries = [json.loads(line) for line in ncl(home, "logs", "--json", "-n", "500").stdout.splitlines()]
    assert all({"at", "level", "logger", "message"} <= set(entry) for entry in entries)
    (routed,) = [entry for entry in entries if entry["message"] == "message routed"]
    assert routed["correlation"].startswith("msg-")
    for_people = ncl(home, "logs", "--session", routed["session"]).stdout
    (line,) = [line for line in for_people.splitlines() if "turn ended" in line]
    assert f"correlation_id={routed['correlation']}" in line


def test_logs_traceback_belongs_to_the_entry_above(home: Path) -> None:
    (home / "logs").mkdir(parents=True)
    first, second = logged("part failed", {"part": "x"}), logged("goes on", {})
    (home / "logs" / "nanoclaw.log").write_text(f"{first}\nTraceback …\n  File …\nValueError: no\n{second}\n")
    entries = [json.loads(line) for line in ncl(home, "logs", "--json").stdout.splitlines()]
    assert [entry["message"] for entry in entries] == ["part failed", "goes on"]
    assert entries[0]["exception"] == "Traceback …\n  File …\nValueError: no"


def test_logs_of_a_session_as_json_are_objects(home: Path, runner_log: Path) -> None:
    runner_log.write_text('{"message": "turn ended", "replies": 1}\nno json \x1b[2J\n')
    done = ncl(home, "--json", "logs", "--session", SESSION)
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"message": "turn ended", "replies": 1},
        {"message": "no json \x1b[2J"},
    ]
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize("kind", ["link", "second name", "pipe"])
def test_logs_of_a_session_must_be_a_regular_file(home: Path, runner_log: Path, kind: str) -> None:
    secret = home / "secret"
    secret.write_text("a secret\n")
    {"link": lambda: runner_log.symlink_to(secret), "second name": lambda: runner_log.hardlink_to(secret)}.get(
        kind, lambda: os.mkfifo(runner_log)
    )()
    done = ncl(home, "logs", "--session", SESSION)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error (not-found): the log {runner_log} cannot be read")


@pytest.mark.parametrize("name", ["ses-unknown", "../sessions", ""])
def test_logs_of_an_unknown_session_fail(home: Path, runner_log: Path, name: str) -> None:
    done = ncl(home, "logs", f"--session={name}")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error (not-found): there is no session {name!r}")


def test_logs_follow_continues_after_rotation(home: Path, runner_log: Path) -> None:
    runner_log.write_text('{"message": "first"}\n')
    command = [*NCL, "--home", str(home), "logs", "-f", "--session", SESSION]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "first\n"
            with runner_log.open("a") as file:
                file.write('{"message": "second"}\n')
            assert process.stdout.readline() == "second\n"
            runner_log.rename(runner_log.with_suffix(".log.1"))
            runner_log.write_text('{"message": "third"}\n')
            assert process.stdout.readline() == "third\n"
        finally:
            process.kill()
            process.wait(WAIT_S)
