"""The host's log: JSON lines in the file, and the same lines as text on stderr."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nanoclaw_cli.log_setup import TextFormatter, configure_logs
from nanoclaw_wire.log_lines import JsonFormatter

from nanoclaw_core import logs

CONFIGURE = (
    "import logging, sys, pathlib; from nanoclaw_cli.log_setup import configure_logs\n"
    "configure_logs('info', pathlib.Path(sys.argv[1]), {}, to_stderr=True)\n"
)
log = logging.getLogger("nanoclaw.test")


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Collect the lines of the logger `nanoclaw.test`."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(TextFormatter())
    logger = logging.getLogger("nanoclaw.test")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    yield written
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


def run_script(script: str, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script, directory], capture_output=True, text=True, check=True)


def test_text_line_has_time_level_name_event_and_values(stream: io.StringIO) -> None:
    log.info("message routed", extra={"session": "ses-1", "wakes": True})
    pattern = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO nanoclaw\.test message routed session=ses-1 wakes=true\n"
    assert re.fullmatch(pattern, stream.getvalue())


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain", "plain"),
        ("two words", '"two words"'),
        ("a=b", '"a=b"'),
        ('say "hi"', r'"say \"hi\""'),
        ("a\nINFO forged line", r'"a\nINFO forged line"'),
        ("\x1b[31mred", r'"\u001b[31mred"'),
        ("\u202eä ö", r'"\u202eä ö"'),
        ("", '""'),
        ("\ud800", r'"\ud800"'),
        (7, "7"),
        (None, "null"),
        (Path("/a"), "/a"),
    ],
    ids=range(12),
)
def test_text_line_quotes_an_ambiguous_value(stream: io.StringIO, value: object, shown: str) -> None:
    log.info("event", extra={"value": value})
    assert stream.getvalue().endswith(f" event value={shown}\n")


@given(st.text(), st.text())
def test_text_line_is_one_line_for_any_event_and_value(event: str, value: str) -> None:
    record = logging.makeLogRecord({"msg": event, "name": "n", "levelname": "INFO", "value": value})
    line = TextFormatter().format(record)
    assert line.count("\n") == 0
    line.encode()


def test_text_line_precedes_its_indented_traceback(stream: io.StringIO) -> None:
    try:
        raise ZeroDivisionError("by nothing\n2026-01-05T15:04:00.000Z INFO forged")
    except ZeroDivisionError:
        log.exception("part failed", extra={"part": "x"})
    first, *rest = stream.getvalue().splitlines()
    assert first.endswith("ERROR nanoclaw.test part failed part=x")
    assert rest[-2:] == ["  ZeroDivisionError: by nothing", "  2026-01-05T15:04:00.000Z INFO forged"]


def test_log_context_is_on_lines_inside_only(stream: io.StringIO) -> None:
    with logs.context(session="ses-1"):
        with logs.context(plugin="acme"):
            log.info("inner")
        log.info("outer")
    log.info("outside")
    inner, outer, outside = stream.getvalue().splitlines()
    assert inner.endswith("inner session=ses-1 plugin=acme")
    assert outer.endswith("outer session=ses-1")
    assert outside.endswith("outside")


def test_log_context_ends_after_an_exception(stream: io.StringIO) -> None:
    with pytest.raises(ZeroDivisionError), logs.context(session="ses-1"):
        raise ZeroDivisionError
    log.info("after")
    assert stream.getvalue().endswith("after\n")


def test_log_context_is_separate_for_each_task(stream: io.StringIO) -> None:
    async def work(name: str, barrier: asyncio.Barrier) -> None:
        with logs.context(session=name):
            await barrier.wait()
            log.info(name)

    async def scenario() -> None:
        barrier = asyncio.Barrier(2)
        await asyncio.gather(work("a", barrier), work("b", barrier))

    asyncio.run(scenario())
    assert sorted(line[-11:] for line in stream.getvalue().splitlines()) == ["a session=a", "b session=b"]


def test_configure_logs_writes_json_lines_to_the_file(tmp_path: Path) -> None:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    configure_logs("info", tmp_path / "logs", {}, to_stderr=False)
    try:
        with logs.context(correlation="msg-1"):
            log.info("written", extra={"value": "ä"})
        log.debug("not written")
    finally:
        for handler in [handler for handler in root.handlers if handler not in before]:
            root.removeHandler(handler)
            handler.close()
        root.setLevel(level)
    (line,) = (tmp_path / "logs" / "nanoclaw.log").read_text(encoding="ascii").splitlines()
    entry = json.loads(line)
    del entry["timestamp"]
    expected = {"level": "info", "logger": "nanoclaw.test", "event": "written", "value": "ä", "correlation": "msg-1"}
    assert entry == expected


def test_configure_logs_prints_tracebacks_only_to_the_file(tmp_path: Path) -> None:
    script = "try: 1 / 0\nexcept ZeroDivisionError: logging.getLogger('nanoclaw.mine').exception('part failed')\n"
    done = run_script(CONFIGURE + script, tmp_path)
    (line,) = done.stderr.splitlines()
    assert line.endswith(' ERROR nanoclaw.mine part failed error="ZeroDivisionError: division by zero"')
    (entry,) = [json.loads(line) for line in (tmp_path / "nanoclaw.log").read_text().splitlines()]
    assert entry["exception"].startswith("Traceback")


def test_configure_logs_full_disk_is_one_line_on_stderr(tmp_path: Path) -> None:
    """A log file that cannot be written is reported once a minute, without a traceback per line."""
    (tmp_path / "nanoclaw.log").symlink_to("/dev/full")
    script = "for number in range(50): logging.getLogger('nanoclaw.mine').info('line', extra={'number': number})\n"
    done = run_script(CONFIGURE + script, tmp_path)
    lines = [line for line in done.stderr.splitlines() if " INFO nanoclaw.mine line number=" not in line]
    (report,) = lines
    assert f" log file cannot be written file={tmp_path}/nanoclaw.log" in report
    assert "No space left on device" in report


def test_json_line_equals_the_line_of_structlog() -> None:
    """The processors of structlog, which the host does not import, write the same keys and values."""
    import structlog

    processors = [
        structlog.stdlib.ExtraAdder(),
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.processors.format_exc_info,
    ]
    theirs = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=processors,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(),
        ],
    )
    try:
        raise ZeroDivisionError("by nothing")
    except ZeroDivisionError:
        fields = {"session": "ses-1", "count": 2, "names": ["ä"], "exc_info": sys.exc_info()}
        record = logging.makeLogRecord({"name": "n", "levelname": "ERROR", "msg": "part %s", "args": ("a",), **fields})
    lines = [json.loads(formatter.format(record)) for formatter in (JsonFormatter(dict), theirs)]
    assert all(re.fullmatch(r"2\d{3}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", line.pop("timestamp")) for line in lines)
    assert lines[0] == lines[1]
