"""Log lines: one per event, with a constant phrase, values and context."""

import asyncio
import io
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nanoclaw_cli import log_lines

from nanoclaw_core import logs


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """Collect the lines of the logger `nanoclaw.test`."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(log_lines.LineFormatter())
    logger = logging.getLogger("nanoclaw.test")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    yield written
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


log = logging.getLogger("nanoclaw.test")


def test_log_line_has_time_level_name_phrase_and_values(stream: io.StringIO) -> None:
    log.info("message routed", extra={"session": "ses-1", "wakes": True})
    pattern = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z INFO nanoclaw\.test message routed session=ses-1 wakes=True\n"
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
        ("", '""'),
        ("\ud800", r'"\ud800"'),
        (7, "7"),
        (None, "None"),
    ],
)
def test_log_line_quotes_an_ambiguous_value(stream: io.StringIO, value: object, shown: str) -> None:
    log.info("event", extra={"value": value})
    assert stream.getvalue().endswith(f" event value={shown}\n")


@given(st.text())
def test_log_line_is_one_line_for_any_value(value: str) -> None:
    record = logging.makeLogRecord({"msg": "event", "name": "n", "levelname": "INFO", "value": value})
    line = log_lines.LineFormatter().format(record)
    assert len(line.splitlines()) == 1
    line.encode()


def test_log_line_precedes_its_traceback(stream: io.StringIO) -> None:
    try:
        raise ZeroDivisionError("by nothing")
    except ZeroDivisionError:
        log.exception("part failed", extra={"part": "x"})
    first, *rest = stream.getvalue().splitlines()
    assert first.endswith("ERROR nanoclaw.test part failed part=x")
    assert rest[-1] == "ZeroDivisionError: by nothing"


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


def test_configure_logs_writes_to_the_log_file(tmp_path: Path) -> None:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    log_lines.configure_logs("info", tmp_path / "logs", to_stderr=False)
    try:
        log.info("written", extra={"value": "ä"})
        log.debug("not written")
    finally:
        for handler in [handler for handler in root.handlers if handler not in before]:
            root.removeHandler(handler)
            handler.close()
        root.setLevel(level)
    text = (tmp_path / "logs" / "nanoclaw.log").read_text(encoding="utf-8")
    assert text.endswith("written value=ä\n")
    assert "not written" not in text


def test_configure_logs_prints_tracebacks_only_to_the_file(tmp_path: Path) -> None:
    script = (
        "import logging, sys, pathlib; from nanoclaw_cli.log_lines import configure_logs\n"
        "configure_logs('info', pathlib.Path(sys.argv[1]), to_stderr=True)\n"
        "try: 1 / 0\nexcept ZeroDivisionError: logging.getLogger('nanoclaw.mine').exception('part failed')\n"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True)
    (line,) = done.stderr.splitlines()
    assert line.endswith(' ERROR nanoclaw.mine part failed error="ZeroDivisionError: division by zero"')
    assert "Traceback" in (tmp_path / "nanoclaw.log").read_text(encoding="utf-8")


def test_configure_logs_full_disk_is_one_line_on_stderr(tmp_path: Path) -> None:
    """A log file that cannot be written is reported once a minute, without a traceback per line."""
    (tmp_path / "nanoclaw.log").symlink_to("/dev/full")
    script = (
        "import logging, sys, pathlib; from nanoclaw_cli.log_lines import configure_logs\n"
        "configure_logs('info', pathlib.Path(sys.argv[1]), to_stderr=True)\n"
        "for number in range(50): logging.getLogger('nanoclaw.mine').info('line', extra={'number': number})\n"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True)
    lines = [line for line in done.stderr.splitlines() if " INFO nanoclaw.mine line number=" not in line]
    (report,) = lines
    assert f" log file cannot be written file={tmp_path}/nanoclaw.log" in report
    assert "No space left on device" in report
