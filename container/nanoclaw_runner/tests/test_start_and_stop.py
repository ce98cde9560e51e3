"""Tests of the start and the end of a runner process."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from importlib.metadata import EntryPoint

import pytest
from nanoclaw_runner import plugins
from nanoclaw_runner.plugins import NoProvider
from nanoclaw_runner.testing import HostSide, said
from nanoclaw_runner.testing.host_side import PATIENCE_S
from nanoclaw_wire import outbound
from nanoclaw_wire.names import RUNNER_GROUP
from nanoclaw_wire.outbound import AckStatus

ECHO = {"echo": "true"}
SLOW = {"script": json.dumps([{"match": "slow", "reply": "never", "delay_s": 600}, {"reply": "{text}"}])}


def test_runner_wrong_protocol_exits_with_one_line(tmp_path):
    async def run():
        async with HostSide(tmp_path) as host:
            host.inbound.pragma("user_version", 99)
            await host.start()
            assert await host.exit_code() == 3
            [line] = host.stderr.decode().splitlines()
            assert "protocol 99" in line

    asyncio.run(run())


def test_runner_wrong_config_exits_without_traceback(tmp_path):
    async def run():
        async with HostSide(tmp_path) as host:
            host.files.config.write_text('{"provider": 3, "surprise": 1}', encoding="utf-8")
            await host.start()
            assert await host.exit_code() == 2
            assert "config.json" in host.stderr.decode()
            assert "Traceback" not in host.stderr.decode()

    asyncio.run(run())


@pytest.mark.invariant(number=4)
def test_forgotten_runner_ends_when_another_starts(tmp_path):
    """The host does not know the first runner any more."""

    async def run():
        async with HostSide(tmp_path, options=SLOW) as host:
            forgotten = await host.start()
            slow = host.say("slow")
            await host.until(lambda: host.acknowledged() == {slow: AckStatus.PROCESSING})
            first = host.read(lambda db: outbound.state(db, outbound.RUNNER))
            await host.start()
            await host.until(lambda: host.read(lambda db: outbound.state(db, outbound.RUNNER)) != first)
            host.say("and this")
            try:
                assert await asyncio.wait_for(forgotten.wait(), PATIENCE_S) == 1
            finally:
                with contextlib.suppress(ProcessLookupError):
                    forgotten.kill()
            assert "has acquired this session" in (await host.logged("runner failed"))["exception"]
            assert host.process.returncode is None

    asyncio.run(run())


def test_runner_missing_outbound_file_is_logged(tmp_path):
    async def run():
        async with HostSide(tmp_path) as host:
            host.files.outbound_db.unlink()
            await host.start()
            assert await host.exit_code() == 1
            assert "CantOpenError" in (await host.logged("runner failed"))["exception"]

    asyncio.run(run())


def test_unknown_provider_sends_one_notice(tmp_path):
    """The log lists the installed providers."""

    async def run():
        async with HostSide(tmp_path, provider="nosuch") as host:
            message = host.say("x", correlation_id="corr-1")
            await host.start()
            assert await host.exit_code() == 4
            assert host.acknowledged() == {message: AckStatus.FAILED}
            assert "'nosuch'" in said(host.sent()[0])
            assert "corr-1" in said(host.sent()[0])
            assert "mock" in (await host.logged("no provider"))["reason"]

    asyncio.run(run())


def test_provider_that_cannot_connect_sends_a_notice(tmp_path):
    async def run():
        async with HostSide(tmp_path, options={"script": "nonsense"}) as host:
            host.say("x")
            await host.start()
            assert await host.exit_code() == 4
            assert len(host.sent()) == 1

    asyncio.run(run())


@pytest.mark.invariant(number=4)
def test_killed_runners_claims_are_repeated_by_the_next(tmp_path):
    async def run():
        async with HostSide(tmp_path, options=SLOW) as host:
            process = await host.start()
            message = host.say("slow")
            await host.until(lambda: (host.files.state / "mock" / "script-uses.json").exists())
            process.kill()
            await host.exit_code()
            assert host.acknowledged() == {message: AckStatus.PROCESSING}
            await host.start()
            assert await host.settled(message) == [AckStatus.COMPLETED]
            assert [said(reply) for reply in host.sent()] == ["slow"]

    asyncio.run(run())


def test_message_settled_by_a_former_runner_is_skipped(tmp_path):
    async def run():
        async with HostSide(tmp_path, options=ECHO) as host:
            for text in ("one", "two"):
                await host.start()
                await host.settled(host.say(text))
                await host.stop()
            assert [said(reply) for reply in host.sent()] == ["one", "two"]

    asyncio.run(run())


def test_runner_rolls_back_a_hot_journal_first(tmp_path):
    async def run():
        async with HostSide(tmp_path, options=ECHO) as host:
            code = (
                "import sys, os, pathlib\n"
                "from nanoclaw_wire import session_files\n"
                "db = session_files.open_writable(pathlib.Path(sys.argv[1]))\n"
                "db.pragma('cache_size', 1)\n"
                "db.execute('BEGIN IMMEDIATE')\n"
                "for n in range(2000):\n"
                "    db.execute('INSERT INTO session_state VALUES (?, ?, ?)', (str(n), 'x' * 500, ''))\n"
                "os._exit(9)\n"
            )
            await host.start("-c", code, str(host.files.outbound_db))
            assert await host.exit_code() == 9
            with pytest.raises(Exception, match="readonly"):
                host.sent()
            await host.start()
            await host.logged("runner ready")
            await host.settled(host.say("x"))
            assert (
                host.read(lambda db: db.execute("SELECT count(*) FROM session_state WHERE key GLOB '[0-9]*'").get) == 0
            )

    asyncio.run(run())


@pytest.mark.invariant(number=5)
def test_on_wake_row_is_read_by_the_first_poll_only(tmp_path):
    async def run():
        async with HostSide(tmp_path, options=ECHO) as host:
            early = host.say("early", on_wake=True)
            await host.start()
            await host.settled(early)
            late = host.say("late", on_wake=True)
            await host.settled(host.say("normal"))
            assert late not in host.acknowledged()
            await host.stop()
            await host.start()
            await host.settled(late)
            assert [said(reply) for reply in host.sent()] == ["early", "normal", "late"]

    asyncio.run(run())


@pytest.mark.defect(number=7)
def test_on_wake_row_survives_a_full_first_prompt(tmp_path):
    async def run():
        async with HostSide(tmp_path, options=ECHO, max_messages_per_prompt=2) as host:
            ids = host.put_all(
                [*(host.row('{"text": "x"}') for _ in range(5)), host.row('{"text": "y"}', on_wake=True)]
            )
            await host.start()
            await host.settled(*ids)

    asyncio.run(run())


def test_sigterm_idle_runner_ends_at_once(tmp_path):
    async def run():
        async with HostSide(tmp_path, options=ECHO) as host:
            await host.start()
            await host.logged("runner ready")
            before = time.monotonic()
            assert await host.stop() == 0
            assert time.monotonic() - before < 1.0

    asyncio.run(run())


def test_sigterm_in_a_turn_keeps_its_message_claimed(tmp_path):
    """The next runner answers it."""

    async def run():
        async with HostSide(tmp_path, options=SLOW) as host:
            await host.start()
            message = host.say("slow")
            await host.until(lambda: (host.files.state / "mock" / "script-uses.json").exists())
            before = time.monotonic()
            assert await host.stop() == 0
            assert time.monotonic() - before < 1.0
            assert host.acknowledged() == {message: AckStatus.PROCESSING}
            await host.start()
            assert await host.settled(message) == [AckStatus.COMPLETED]

    asyncio.run(run())


def test_idle_runner_ends_after_a_turn(tmp_path):
    async def run():
        async with HostSide(tmp_path, options=ECHO, idle_stop_s=0.3) as host:
            await host.start()
            await host.settled(host.say("x"))
            assert await host.exit_code() == 0

    asyncio.run(run())


@pytest.mark.invariant(number=4)
def test_runner_ends_when_its_host_is_gone(tmp_path):
    """Otherwise it would work on the session beside the next host's runner."""

    async def run():
        watchdog, end = os.pipe()
        async with HostSide(tmp_path, options=SLOW) as host:
            await host.start(inherited=[watchdog], NANOCLAW_PARENT_WATCHDOG=str(watchdog))
            slow = host.say("slow")
            await host.until(lambda: host.acknowledged() == {slow: AckStatus.PROCESSING})
            os.close(watchdog)
            os.close(end)
            assert await host.exit_code() == 1

    asyncio.run(run())


def test_idle_runner_ends_without_any_message(tmp_path):
    async def run():
        async with HostSide(tmp_path, idle_stop_s=0.1) as host:
            await host.start()
            assert await host.exit_code() == 0

    asyncio.run(run())


def test_runner_reconnects_to_a_restarted_host(tmp_path):
    async def run():
        async with HostSide(tmp_path, options=ECHO) as host:
            await host.start()
            await host.settled(host.say("one"))
            await host.bell.close()
            await host.bell.open()
            await host.settled(host.say("two"))

    asyncio.run(run())


@pytest.mark.defect(number=55)
def test_inbound_empty_thread_cannot_be_stored(tmp_path):
    async def run():
        async with HostSide(tmp_path) as host:
            with pytest.raises(Exception, match="CHECK"):
                host.say("x", thread="")

    asyncio.run(run())


def test_log_has_correlation_id_and_no_message_text(tmp_path):
    async def run():
        async with HostSide(tmp_path, options=ECHO) as host:
            await host.start()
            await host.settled(host.say("a secret word", correlation_id="corr-9"))
            await host.logged("turn ended")
            assert "corr-9" in [line.get("correlation") for line in host.log()]
            assert "secret" not in host.stderr.decode()

    asyncio.run(run())


@pytest.mark.invariant(number=12)
def test_log_keeps_the_reason_under_the_reference(tmp_path):
    script = '[{"error": {"message": "the key is wrong", "retryable": false, "kind": "authentication"}}]'

    async def run():
        async with HostSide(tmp_path, options={"script": script}) as host:
            await host.start()
            await host.settled(host.say("hello", correlation_id="corr-9"))
            await host.logged("turn failed")

    asyncio.run(run())
    lines = [json.loads(line) for line in (tmp_path / "out" / "runner.log").read_text().splitlines()]
    [failed] = [line for line in lines if line["event"] == "turn failed"]
    assert (failed["reason"], failed["correlation"]) == ("the key is wrong", "corr-9")


def test_runner_loads_no_module_of_the_host():
    code = (
        "import sys, nanoclaw_runner.__main__, nanoclaw_runner.testing, nanoclaw_provider_mock.runner,"
        " nanoclaw_provider_mock.provider\n"
        "print(sorted({'nanoclaw_core', 'pluggy', 'click', 'docker'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_idle_runner_needs_at_most_45_mb(tmp_path):
    async def run():
        async with HostSide(tmp_path, options=ECHO) as host:
            process = await host.start()
            await host.settled(host.say("x"))
            with open(f"/proc/{process.pid}/statm", encoding="ascii") as statm:  # noqa: ASYNC230
                resident_mb = int(statm.read().split()[1]) * 4096 / 1e6
            assert resident_mb <= 45

    asyncio.run(run())


def test_broken_plugin_is_skipped_and_named_on_demand():
    broken = EntryPoint(name="bad", value="nosuch_module_here", group=RUNNER_GROUP)
    good = EntryPoint(name="mock", value="nanoclaw_provider_mock.runner", group=RUNNER_GROUP)
    loaded = plugins.load([broken, good])
    assert [plugin.name for plugin in loaded.loaded] == ["mock"]
    assert loaded.offer("mock").name == "mock"
    with pytest.raises(NoProvider, match="'bad': its plugin is broken: ModuleNotFoundError"):
        loaded.offer("bad")
    with pytest.raises(NoProvider, match="Installed: mock"):
        loaded.offer("other")


def test_offer_of_two_plugins_names_both():
    mock = EntryPoint(name="mock", value="nanoclaw_provider_mock.runner", group=RUNNER_GROUP)
    [plugin] = plugins.load([mock]).loaded
    with pytest.raises(NoProvider, match="'mock' and 'mock'"):
        plugins.RunnerPlugins(loaded=(plugin, plugin)).offer("mock")


def test_session_files_are_never_wal(tmp_path):
    async def run():
        async with HostSide(tmp_path, options=ECHO) as host:
            await host.start()
            await host.settled(host.say("x"))
            assert host.read(lambda db: db.pragma("journal_mode")) in ("delete", "persist")

    asyncio.run(run())
