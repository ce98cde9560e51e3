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
from nanoclaw_wire.outbound import AckStatus

ECHO = {"echo": "true"}
SLOW = {"script": json.dumps([{"match": "slow", "reply": "never", "delay_s": 600}, {"reply": "{text}"}])}


def test_another_protocol_is_said_in_one_line_and_changes_nothing(tmp_path):
    async def run():
        async with HostSide(tmp_path) as host:
            host.inbound.pragma("user_version", 99)
            await host.start()
            assert await host.exit_code() == 3
            [line] = host.stderr.decode().splitlines()
            assert "protocol 99" in line

    asyncio.run(run())


def test_a_config_of_another_shape_is_said_in_one_line(tmp_path):
    async def run():
        async with HostSide(tmp_path) as host:
            host.files.config.write_text('{"provider": 3, "surprise": 1}', encoding="utf-8")
            await host.start()
            assert await host.exit_code() == 2
            assert "config.json" in host.stderr.decode()
            assert "Traceback" not in host.stderr.decode()

    asyncio.run(run())


def test_invariant_04_a_runner_that_nobody_knows_of_leaves_when_its_successor_has_come(tmp_path):
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


def test_a_missing_outbound_file_is_logged_and_ends_the_runner(tmp_path):
    async def run():
        async with HostSide(tmp_path) as host:
            host.files.outbound_db.unlink()
            await host.start()
            assert await host.exit_code() == 1
            assert "CantOpenError" in (await host.logged("runner failed"))["exception"]

    asyncio.run(run())


def test_an_unknown_provider_is_told_to_people_once_and_the_log_names_the_known(tmp_path):
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


def test_a_provider_that_cannot_be_made_is_told_to_people(tmp_path):
    async def run():
        async with HostSide(tmp_path, options={"script": "nonsense"}) as host:
            host.say("x")
            await host.start()
            assert await host.exit_code() == 4
            assert len(host.sent()) == 1

    asyncio.run(run())


def test_invariant_04_a_killed_runners_claims_are_taken_up_by_the_next(tmp_path):
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


def test_a_message_settled_by_a_former_runner_is_not_answered_again(tmp_path):
    async def run():
        async with HostSide(tmp_path, options=ECHO) as host:
            for text in ("one", "two"):
                await host.start()
                await host.settled(host.say(text))
                await host.stop()
            assert [said(reply) for reply in host.sent()] == ["one", "two"]

    asyncio.run(run())


def test_a_hot_journal_of_a_killed_runner_is_rolled_back_first(tmp_path):
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


def test_invariant_05_a_row_for_a_fresh_runner_is_seen_by_its_first_look_only(tmp_path):
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


def test_warning_07_a_row_for_a_fresh_runner_survives_a_full_first_prompt(tmp_path):
    async def run():
        async with HostSide(tmp_path, options=ECHO, max_messages_per_prompt=2) as host:
            ids = host.put_all(
                [*(host.row('{"text": "x"}') for _ in range(5)), host.row('{"text": "y"}', on_wake=True)]
            )
            await host.start()
            await host.settled(*ids)

    asyncio.run(run())


def test_sigterm_ends_an_idle_runner_at_once(tmp_path):
    async def run():
        async with HostSide(tmp_path, options=ECHO) as host:
            await host.start()
            await host.logged("runner ready")
            before = time.monotonic()
            assert await host.stop() == 0
            assert time.monotonic() - before < 1.0

    asyncio.run(run())


def test_sigterm_in_a_turn_leaves_its_message_for_the_successor(tmp_path):
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


def test_an_idle_runner_leaves_by_itself(tmp_path):
    async def run():
        async with HostSide(tmp_path, options=ECHO, idle_stop_s=0.3) as host:
            await host.start()
            await host.settled(host.say("x"))
            assert await host.exit_code() == 0

    asyncio.run(run())


@pytest.mark.invariant(number=4)
def test_runner_ends_when_its_host_is_gone(tmp_path):
    """A runner that outlived its host would work on a session beside the next host's runner."""

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


def test_a_runner_that_never_heard_anything_leaves_too(tmp_path):
    async def run():
        async with HostSide(tmp_path, idle_stop_s=0.1) as host:
            await host.start()
            assert await host.exit_code() == 0

    asyncio.run(run())


def test_a_host_that_comes_back_is_found_again(tmp_path):
    async def run():
        async with HostSide(tmp_path, options=ECHO) as host:
            await host.start()
            await host.settled(host.say("one"))
            await host.bell.close()
            await host.bell.open()
            await host.settled(host.say("two"))

    asyncio.run(run())


def test_warning_55_an_address_with_an_empty_thread_cannot_be_stored(tmp_path):
    async def run():
        async with HostSide(tmp_path) as host:
            with pytest.raises(Exception, match="CHECK"):
                host.say("x", thread="")

    asyncio.run(run())


def test_the_log_carries_the_correlation_id_and_no_message_text(tmp_path):
    async def run():
        async with HostSide(tmp_path, options=ECHO) as host:
            await host.start()
            await host.settled(host.say("a secret word", correlation_id="corr-9"))
            await host.logged("turn ended")
            assert "corr-9" in [line.get("correlation_id") for line in host.log()]
            assert "secret" not in host.stderr.decode()

    asyncio.run(run())


def test_invariant_12_why_a_turn_failed_is_kept_under_the_reference_that_people_got(tmp_path):
    script = '[{"error": {"message": "the key is wrong", "retryable": false, "kind": "authentication"}}]'

    async def run():
        async with HostSide(tmp_path, options={"script": script}) as host:
            await host.start()
            await host.settled(host.say("hello", correlation_id="corr-9"))
            await host.logged("turn failed")

    asyncio.run(run())
    lines = [json.loads(line) for line in (tmp_path / "out" / "runner.log").read_text().splitlines()]
    [failed] = [line for line in lines if line["message"] == "turn failed"]
    assert (failed["reason"], failed["correlation_id"]) == ("the key is wrong", "corr-9")


def test_the_runner_loads_nothing_of_the_host():
    code = (
        "import sys, nanoclaw_runner.__main__, nanoclaw_runner.testing, nanoclaw_provider_mock.runner,"
        " nanoclaw_provider_mock.provider\n"
        "print(sorted({'nanoclaw_core', 'pluggy', 'click', 'docker'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_an_idle_runner_is_small(tmp_path):
    async def run():
        async with HostSide(tmp_path, options=ECHO) as host:
            process = await host.start()
            await host.settled(host.say("x"))
            with open(f"/proc/{process.pid}/statm", encoding="ascii") as statm:  # noqa: ASYNC230
                resident_mb = int(statm.read().split()[1]) * 4096 / 1e6
            assert resident_mb <= 45

    asyncio.run(run())


def test_a_broken_part_is_left_out_and_named_where_its_provider_is_wanted():
    broken = EntryPoint(name="bad", value="nosuch_module_here", group=plugins.GROUP)
    good = EntryPoint(name="mock", value="nanoclaw_provider_mock.runner", group=plugins.GROUP)
    parts = plugins.load([broken, good])
    assert [part.name for part in parts.loaded] == ["mock"]
    assert parts.offer("mock").name == "mock"
    with pytest.raises(NoProvider, match="'bad' is broken: ModuleNotFoundError"):
        parts.offer("bad")
    with pytest.raises(NoProvider, match="there is: mock"):
        parts.offer("other")


def test_two_plugins_with_one_provider_are_both_named():
    [part] = plugins.load([EntryPoint(name="mock", value="nanoclaw_provider_mock.runner", group=plugins.GROUP)]).loaded
    with pytest.raises(NoProvider, match="'mock' and 'mock'"):
        plugins.RunnerPlugins(loaded=(part, part)).offer("mock")


def test_session_files_of_a_runner_are_never_wal(tmp_path):
    async def run():
        async with HostSide(tmp_path, options=ECHO) as host:
            await host.start()
            await host.settled(host.say("x"))
            assert host.read(lambda db: db.pragma("journal_mode")) in ("delete", "persist")

    asyncio.run(run())
