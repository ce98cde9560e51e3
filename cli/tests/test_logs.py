"""`ncl logs`: the logs of the host and of sessions, as text and as JSON."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from nanoclaw_cli.log_console import console_renderer
from nanoclaw_cli.log_entries import as_json, as_text, entry_of
from nanoclaw_cli.logs import last_lines, split_block
from nanoclaw_client.terminal_text import terminal_safe
from nanoclaw_wire.log_lines import MAX_READ_BYTES, JsonFormatter
from ncl_process import NCL, WAIT_S, ncl

SESSION = "ses-0123456789ab"
OLD_LINES = (
    '2026-01-05T15:04:00.125Z ERROR nanoclaw.test part failed part="x y"',
    "Traceback (most recent call last):",
    '  File "x.py", line 1',
    "ValueError: no",
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
    max_leaves=5,
)
KEYS = st.sampled_from(["timestamp", "level", "logger", "event", "exception", "stack", "a", "a b", "\x1b"]) | st.text()
ENTRIES = st.dictionaries(KEYS.filter(lambda key: key != "exc_info"), JSON_VALUES)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def runner_log(home: Path) -> Path:
    path = home / "sessions" / SESSION / "out" / "runner.log"
    path.parent.mkdir(parents=True)
    return path


def logged(message: str, extra: dict[str, object]) -> str:
    record = logging.makeLogRecord({"name": "nanoclaw.test", "levelname": "WARNING", "msg": message, **extra})
    return JsonFormatter(dict).format(record)


def without_colours(text: str) -> str:
    return re.sub(r"\x1b\[\d+m", "", text)


@given(st.binary() | ENTRIES.map(lambda entry: json.dumps(entry).encode()))
def test_entry_has_no_control_characters(line: bytes) -> None:
    entry = entry_of(line)
    text = as_text(entry)
    assert terminal_safe(text) == text
    assert as_json(entry).isprintable()
    assert json.loads(as_json(entry), parse_constant=pytest.fail) == entry


@given(ENTRIES)
def test_entry_is_one_line_unless_it_has_an_exception(entry: dict[str, object]) -> None:
    entry = entry_of(json.dumps(entry).encode())
    rest = as_text(entry).split("\n")[1:]
    assert all(line.startswith("  ") for line in rest)
    assert not rest or {"exception", "stack"} & set(entry)


def test_entry_of_a_hostile_sandbox_is_shown_in_escapes() -> None:
    line = json.dumps(
        {
            "timestamp": ["\x1b[2J"],
            "level": "\x9b2j",
            "event": "a\n2026-01-05T15:04:00.000Z INFO forged ",
            "b\n": "\u202ec",
            "exception": "d\n\x1b[2J\r2026-01-05T15:04:00.000Z INFO forged",
        }
    )
    assert as_text(entry_of(line.encode())).split("\n") == [
        r'["\u001b[2J"] \U009B2J a\n2026-01-05T15:04:00.000Z INFO forged "b\n"="\u202ec"',
        "  d",
        r"  \u001b[2J",
        "  2026-01-05T15:04:00.000Z INFO forged",
    ]


def test_blanks_push_no_text_to_the_next_terminal_line() -> None:
    entry = {"event": f"a{' ' * 300}b", "value": f"c{chr(0x3000) * 200}2026-01-05T15:04:00.000Z INFO forged"}
    assert as_text(entry) == 'a[300 spaces]b value="c[200 blank characters]2026-01-05T15:04:00.000Z INFO forged"'


@pytest.mark.parametrize("colours", [False, True])
@given(ENTRIES)
@example({"event": "ends with a space "})
@example({"event": None, "level": 0, "a": ""})
def test_console_renderer_only_adds_colours(colours: bool, entry: dict[str, object]) -> None:
    """`ncl logs` on a terminal, `ncl logs` in a pipe and the stderr of `ncl serve` have the same text."""
    entry = entry_of(json.dumps(entry).encode())
    text = console_renderer(colours=colours)(entry)
    assert (without_colours(text) if colours else text) == as_text(entry)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[1]",
        b'{"event": NaN}',
        b'{"event": 1e999}',
        b'{"event": "half',
        b'{"event": "\xff"',
        b"[" * 30_000,
        b'{"a":' * 6_000,
        b"9" * 5_000,
        *(line.encode() for line in OLD_LINES),
    ],
    ids=range(13),
)
def test_entry_of_another_line_is_the_line(line: bytes) -> None:
    """Lines of an earlier version, and lines that a hostile sandbox wrote."""
    assert entry_of(line) == {"event": line.decode("utf-8", "replace")}
    assert as_text(entry_of(line)) == line.decode("utf-8", "replace").rstrip(" ")


def test_entry_of_a_line_that_is_too_long_is_shortened() -> None:
    line = json.dumps({"event": "x" * 10 * MAX_READ_BYTES}).encode()
    entry = entry_of(line)
    assert list(entry) == ["event"]
    assert len(entry["event"]) < MAX_READ_BYTES + 100
    assert entry["event"].startswith('{"event": "xxx')


def test_last_lines_reads_each_block_once() -> None:
    """A sandbox may write a file of any size without a line end."""

    class Counted(io.BytesIO):
        taken = 0

        def read(self, size: int | None = -1) -> bytes:
            block = super().read(size)
            self.taken += len(block)
            return block

    file = Counted(b"first\n" + b"x" * 40_000_000)
    lines, partial = last_lines(file, 1)
    assert (lines, set(partial)) == ([], {ord("x")})
    assert file.taken < 17_000_000
    assert file.tell() == 40_000_006


@pytest.mark.parametrize(
    ("text", "number", "lines", "partial"),
    [
        (b"", 2, [], b""),
        (b"a\nb\nc\n", 2, [b"b", b"c"], b""),
        (b"a\nb\nc", 2, [b"a", b"b"], b"c"),
        (b"a\n\n", 2, [b"a", b""], b""),
        (b"a\rb\n", 1, [b"a\rb"], b""),
        (b"a\nb", 0, [], b"b"),
    ],
)
def test_last_lines_of_a_file(text: bytes, number: int, lines: list[bytes], partial: bytes) -> None:
    assert last_lines(io.BytesIO(text), number) == (lines, partial)


def test_split_block_bounds_a_line_without_an_end() -> None:
    partial = b""
    for _ in range(100):
        lines, partial = split_block(partial, b"x" * 65_536)
        assert (lines, len(partial)) == ([], MAX_READ_BYTES + 1)
    lines, partial = split_block(partial, b"\nsecond\nthi")
    assert (len(lines), lines[1], partial) == (2, b"second", b"thi")
    assert " characters ... " in entry_of(lines[0])["event"]


def test_logs_of_a_chat_share_a_correlation_id(home: Path) -> None:
    """A chat leaves lines in the host's log and in its session's log."""
    assert ncl(home, "chat", "hello", environment={"DOCKER_HOST": "unix:///nowhere.sock"}).returncode == 0
    entries = [json.loads(line) for line in ncl(home, "logs", "--json", "-n", "500").stdout.splitlines()]
    (routed,) = [entry for entry in entries if entry["event"] == "message routed"]
    assert routed["correlation"].startswith("msg-")
    of_runner = [
        json.loads(line) for line in ncl(home, "logs", "--json", "--session", routed["session"]).stdout.splitlines()
    ]
    (ended,) = [entry for entry in of_runner if entry["event"] == "turn ended"]
    assert ended["correlation"] == routed["correlation"]
    assert {tuple(entry)[:4] for entry in entries + of_runner} == {("timestamp", "level", "logger", "event")}
    for_people = ncl(home, "logs", "--session", routed["session"]).stdout
    (line,) = [line for line in for_people.splitlines() if "turn ended" in line]
    assert f"correlation={routed['correlation']}" in line


def test_logs_show_text_lines_of_an_earlier_version(home: Path) -> None:
    (home / "logs").mkdir(parents=True)
    line = logged("goes on", {"part": "x"})
    (home / "logs" / "nanoclaw.log").write_text("".join(f"{line}\n" for line in (*OLD_LINES, line)))
    *old, new = ncl(home, "logs").stdout.splitlines()
    assert tuple(old) == OLD_LINES
    assert new.endswith(" WARNING nanoclaw.test goes on part=x")
    *old, new = [json.loads(line) for line in ncl(home, "logs", "--json").stdout.splitlines()]
    assert [entry["event"] for entry in old] == list(OLD_LINES)
    assert (new["event"], new["part"]) == ("goes on", "x")


def test_logs_on_a_terminal_have_colours(home: Path) -> None:
    (home / "logs").mkdir(parents=True)
    (home / "logs" / "nanoclaw.log").write_text(f"{logged('goes on', {})}\n")
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM")}
    ours, terminal = os.openpty()
    with open(ours, "rb", buffering=0) as screen:
        command = [*NCL, "--home", str(home), "logs"]
        subprocess.run(command, stdout=terminal, env=environment, check=True, timeout=WAIT_S)
        os.close(terminal)
        text = screen.read(65_536).decode()
    assert "\x1b[33mWARNING\x1b[0m" in text
    assert without_colours(text).rstrip().endswith(" WARNING nanoclaw.test goes on")


def test_logs_of_a_session_as_json_are_objects(home: Path, runner_log: Path) -> None:
    runner_log.write_text('{"event": "turn ended", "replies": 1}\nno json \x1b[2J\n')
    done = ncl(home, "--json", "logs", "--session", SESSION)
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"event": "turn ended", "replies": 1},
        {"event": "no json \x1b[2J"},
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


@pytest.mark.parametrize(
    ("number", "shown"), [("0", ""), ("1", "half"), ("2", "second\nhalf"), ("3", "first\nsecond\nhalf")]
)
def test_logs_count_a_last_line_without_an_end(home: Path, runner_log: Path, number: str, shown: str) -> None:
    """A killed runner may leave such a line."""
    runner_log.write_text("first\nsecond\nhalf")
    assert ncl(home, "logs", "-n", number, "--session", SESSION).stdout.rstrip("\n") == shown
