"""Tests of an exhausted machine: a turn that meets ENOSPC, EMFILE or the like ends the runner and loses nothing."""

import asyncio
import contextlib
import errno
import os
from importlib.metadata import EntryPoint
from pathlib import Path

import apsw
import pytest
from machine_faults import no_descriptors
from nanoclaw_runner import plugins
from nanoclaw_runner.plugins import RunnerPlugins
from nanoclaw_runner.provider import ProviderOffer, RunnerPlugin
from nanoclaw_runner.runner import ExitCode, Runner
from nanoclaw_runner.testing import HostSide
from nanoclaw_runner.timeouts import Timeouts
from nanoclaw_wire.events import Result
from nanoclaw_wire.exhaustion import is_exhausted, is_out_of_memory
from nanoclaw_wire.names import RUNNER_GROUP
from nanoclaw_wire.outbound import AckStatus


def write_to_full_disk():
    descriptor = os.open("/dev/full", os.O_WRONLY)
    try:
        os.write(descriptor, b"x")
    finally:
        os.close(descriptor)


def run_out_of_memory():
    raise MemoryError


def fail_within_an_sdk():
    try:
        write_to_full_disk()
    except OSError as error:
        raise RuntimeError("the SDK failed") from error


class Query:
    """A query with failing events."""

    def __init__(self, fail):
        self._fail = fail

    async def events(self):
        self._fail()
        yield

    async def push(self, text, push_id):
        pass

    async def interrupt(self):
        pass

    async def end(self):
        pass

    async def abort(self):
        pass


class Provider:
    """Fails in a query's events, or before there is a query."""

    has_slash_commands = False

    def __init__(self, fail, *, opens):
        self._fail, self._opens = fail, opens

    async def query(self, _prompt, **_more):
        if not self._opens:
            self._fail()
        return Query(self._fail)

    def is_stale(self, _error):
        return False

    async def close(self):
        pass


def failing_runner(host, fail, *, opens):
    """Return a runner with a failing provider."""
    offer = ProviderOffer(name="full", connect=lambda _context: Provider(fail, opens=opens))
    return Runner(
        workspace=host.workspace,
        config=host.config,
        plugins=RunnerPlugins(loaded=(RunnerPlugin(name="x", providers=[offer]),)),
        environment=host.environment(),
        timeouts=Timeouts(turn_pauses_s=(0.01,)),
    )


@pytest.mark.parametrize("opens", [True, False])
@pytest.mark.parametrize("fail", [write_to_full_disk, fail_within_an_sdk])
def test_full_disk_in_a_turn_ends_the_runner(tmp_path, fail, opens):
    """It exits with a code of its own; the message stays pending, and people read nothing."""

    async def run():
        async with HostSide(tmp_path, provider="full") as host:
            message = host.say("x")
            async with asyncio.timeout(30):
                assert await failing_runner(host, fail, opens=opens).run() is ExitCode.NO_ROOM
            assert host.acknowledged() == {message: AckStatus.PROCESSING}
            assert host.sent() == []

    asyncio.run(run())


def test_prompt_beyond_memory_fails_the_runner(tmp_path):
    """The host counts a try: a prompt that never fits must not start sandboxes for ever."""

    async def run():
        async with HostSide(tmp_path, provider="full") as host:
            host.say("x")
            with pytest.raises((MemoryError, ExceptionGroup)) as caught:
                async with asyncio.timeout(30):
                    await failing_runner(host, run_out_of_memory, opens=True).run()
            assert is_out_of_memory(caught.value)

    asyncio.run(run())


def test_other_system_error_fails_the_turn(tmp_path):
    """A missing program stays missing, so people learn it at once."""

    def missing():
        raise OSError(errno.ENOENT, "no such program")

    async def run():
        async with HostSide(tmp_path, provider="broken") as host:
            offer = ProviderOffer(name="broken", connect=lambda _context: Provider(missing, opens=True))
            async with host.running(plugins=RunnerPlugins(loaded=(RunnerPlugin(name="x", providers=[offer]),))):
                assert await host.settled(host.say("x")) == [AckStatus.FAILED]

    asyncio.run(run())


def test_exhausted_error_event_ends_the_runner(tmp_path):
    """A provider that knows the error only as text reports it by the kind of its event."""
    script = '[{"error": {"message": "ENOSPC: no space left on device", "retryable": true, "kind": "exhausted"}}]'

    async def run():
        async with HostSide(tmp_path, options={"script": script}) as host:
            await host.start()
            message = host.say("x")
            assert await host.exit_code() == ExitCode.NO_ROOM
            assert host.acknowledged() == {message: AckStatus.PROCESSING}
            assert host.sent() == []

    asyncio.run(run())


def test_provider_on_broken_disk_ends_the_runner(tmp_path):
    """A provider that reads EIO on connect is not missing: people read nothing, and the message waits."""

    async def run():
        async with HostSide(tmp_path, options={"script_file": "/proc/self/mem"}) as host:
            host.say("x")
            await host.start()
            assert await host.exit_code() == ExitCode.NO_ROOM
            assert (host.acknowledged(), host.sent()) == ({}, [])

    asyncio.run(run())


def test_plugin_on_full_disk_is_not_skipped(tmp_path, monkeypatch):
    """An import that meets a full disk does not prove that the plugin is broken."""
    (tmp_path / "plugin_on_full_disk.py").write_text("import os\nos.write(os.open('/dev/full', os.O_WRONLY), b'x')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(OSError, match="No space left"):
        plugins.load([EntryPoint(name="full", value="plugin_on_full_disk", group=RUNNER_GROUP)])


def test_tools_on_full_disk_end_the_runner(tmp_path):
    """An agent without its tools would give half an answer."""

    async def run():
        async with HostSide(tmp_path, provider="full") as host:
            host.say("x")
            offer = ProviderOffer(name="full", connect=lambda _context: Provider(run_out_of_memory, opens=True))
            part = RunnerPlugin(name="x", providers=[offer], tools=lambda _host: write_to_full_disk())
            runner = Runner(
                workspace=host.workspace, config=host.config, plugins=RunnerPlugins(loaded=(part,)), environment={}
            )
            with pytest.raises(OSError, match="No space left"):
                await runner.run()
            assert (host.acknowledged(), host.sent()) == ({}, [])

    asyncio.run(run())


def test_config_without_descriptors_exits_with_no_room(tmp_path):
    """A runner that cannot open its config exits with the code for an exhausted machine."""
    code = (
        "import resource, sys, nanoclaw_runner.__main__\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\n"
        "sys.exit(nanoclaw_runner.__main__.main())"
    )

    async def run():
        async with HostSide(tmp_path) as host:
            await host.start("-c", code)
            assert await host.exit_code() == ExitCode.NO_ROOM
            assert "Too many open files" in host.stderr.decode()

    asyncio.run(run())


class Answering(Query):
    """A query that ends its turn during a fault. The fault ends with the query."""

    def __init__(self, fault, text, push_id):
        super().__init__(lambda: None)
        self._fault, self._text, self._push_id = fault, text, push_id

    async def events(self):
        with self._fault():
            yield Result(text=self._text, answers=[self._push_id])


class AnsweringProvider(Provider):
    def __init__(self, fault, text):
        self._fault, self._text = fault, text

    async def query(self, _prompt, *, push_id, **_more):
        return Answering(self._fault, self._text, push_id)


def answering_runner(host, fault, text):
    offer = ProviderOffer(name="full", connect=lambda _context: AnsweringProvider(fault, text))
    return Runner(
        workspace=host.workspace,
        config=host.config,
        plugins=RunnerPlugins(loaded=(RunnerPlugin(name="x", providers=[offer]),)),
        environment=host.environment(),
    )


@pytest.mark.parametrize("text", ['<message to="family">hi</message>', None], ids=["reads", "writes"])
def test_answer_without_descriptors_ends_the_runner(tmp_path, text):
    """SQLite does not say why it cannot open a journal; the runner finds out, and the message waits."""

    async def run():
        async with HostSide(tmp_path, provider="full") as host:
            message = host.say("x")
            async with asyncio.timeout(30):
                assert await answering_runner(host, no_descriptors, text).run() is ExitCode.NO_ROOM
            assert host.acknowledged() == {message: AckStatus.PROCESSING}
            assert host.sent() == []

    asyncio.run(run())


def test_journal_is_not_a_file_fails_the_runner(tmp_path):
    """The machine has space and descriptors, so the host counts a failed try."""

    async def run():
        async with HostSide(tmp_path, provider="full") as host:
            journal = host.files.outbound_db.with_name("outbound.db-journal")

            @contextlib.contextmanager
            def replaced():
                journal.unlink()
                journal.symlink_to(journal)
                yield

            host.say("x")
            with pytest.raises(ExceptionGroup) as caught:
                async with asyncio.timeout(30):
                    await answering_runner(host, replaced, None).run()
            assert caught.group_contains(apsw.CantOpenError)
            assert not is_exhausted(caught.value)

    asyncio.run(run())


@pytest.mark.parametrize(
    "spoil",
    [lambda path: path.symlink_to("/dev/full"), Path.mkdir, os.mkfifo],
    ids=["full", "directory", "pipe"],
)
def test_unwritable_log_is_reported_once(tmp_path, spoil):
    """The runner works, and its stderr has all entries."""

    async def run():
        async with HostSide(tmp_path) as host:
            spoil(host.files.runner_log)
            await host.start()
            assert await host.settled(host.say("x")) == [AckStatus.COMPLETED]
            assert await host.stop() == ExitCode.DONE
            said = [line["event"] for line in host.log()]
            assert (said.count("log file cannot be written"), "turn ended" in said) == (1, True)
            assert not [line for line in host.stderr.decode().splitlines() if not line.startswith("{")]

    asyncio.run(run())
