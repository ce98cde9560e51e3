"""An application inspects an instance.

`test_checks.py` covers the same facts in the words of the doctor.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import apsw
import pytest
from attrs import evolve
from attrs.exceptions import FrozenInstanceError
from installed import install

from nanoclaw_core import (
    Checked,
    Host,
    Inspection,
    PluginError,
    PluginState,
    SandboxRefused,
    Settings,
    SettingsError,
    config_of,
    initialise,
    inspect_instance,
    plugin_reports,
    save_config,
)
from nanoclaw_core.testing.instance import Instance

ROOM = ("window", "main")
RUNTIME = """
from pathlib import Path
from nanoclaw_core import Readiness, Runtime, hookimpl

class Adapter:
    async def check(self):
        return Readiness(ready=True, isolates=True, detail="walls")
    async def shown_directories(self):
        {shown}
    async def close(self):
        pass

@hookimpl
def nanoclaw_runtimes():
    yield Runtime(name="acme", connect=lambda settings, context, parts: Adapter())
"""

PROVIDER = """
from nanoclaw_core import Provider, hookimpl
{imported}

def upstreams(settings, environment):
    {upstreams}

@hookimpl
def nanoclaw_providers():
    yield Provider(name="claude", runs_tools=True, upstreams=upstreams)
"""
GATEWAY = """
from nanoclaw_core import Service, hookimpl

@hookimpl
def nanoclaw_services():
    yield Service(name="{name}", connect=lambda settings, context: None, is_gateway=True)
"""
BLOCKED_LOOP_S = 30.0  # only a blocked event loop takes so long

pytestmark = pytest.mark.usefixtures("site")


def inspect(home: Path) -> Inspection:
    return asyncio.run(inspect_instance(home, {}))


def files(home: Path) -> dict[Path, tuple[int, bytes]]:
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in home.rglob("*") if path.is_file()}


@contextmanager
def probe_module(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Offer plugins the module `probe` with an event `ends`, which is set at the end."""
    probe, ends = ModuleType("probe"), threading.Event()
    monkeypatch.setattr(probe, "ends", ends, raising=False)
    monkeypatch.setitem(sys.modules, "probe", probe)
    yield ends
    ends.set()


def test_inspection_of_a_new_instance_has_values(tmp_path: Path, site: Path) -> None:
    initialise(tmp_path, environment={}, room=ROOM, owner="window:me")
    install(site, "acme-runtime", "acme", RUNTIME.format(shown="return []"))
    inspection = inspect(tmp_path)
    assert inspection.settings.value is not None
    assert inspection.settings.value.core.owners == ["window:me"]
    assert [(report.name, report.state) for report in inspection.plugins.value or ()] == [("acme", PluginState.ACTIVE)]
    assert inspection.runtimes["acme"].value is not None
    assert inspection.runtimes["acme"].value.detail == "walls"
    assert (inspection.agent_groups.value, inspection.database_damage.value) == (1, "")
    assert (inspection.pattern_problems.value, inspection.mounts.value, inspection.waiting.value) == ([], [], [])
    with pytest.raises(FrozenInstanceError):
        inspection.plugins = Checked()  # type: ignore[misc]


def test_inspection_reports_each_broken_part(tmp_path: Path, site: Path) -> None:
    install(site, "acme-bad", "acme_bad", "raise SystemExit('imported')", plugin="bad")
    install(site, "acme-runtime", "acme", RUNTIME.format(shown="raise SystemExit"))
    (tmp_path / "nanoclaw.toml").write_text("[core")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "nanoclaw.db").write_bytes(b"garbage" * 200)
    inspection = inspect(tmp_path)
    assert isinstance(inspection.settings.error, SettingsError)
    assert isinstance(inspection.database_damage.error, apsw.NotADBError)
    assert isinstance(inspection.runtimes["acme"].error, SystemExit)
    assert [report.state for report in inspection.plugins.value or ()] == [PluginState.ACTIVE, PluginState.FAILED]


def test_inspection_provider_calling_exit_has_the_error(tmp_path: Path, site: Path) -> None:
    install(site, "acme-provider", "acme", PROVIDER.format(imported="", upstreams="raise SystemExit('gone')"))
    error = inspect(tmp_path).providers["claude"].error
    assert (type(error), str(error)) == (SystemExit, "gone")


def test_inspection_leaves_the_event_loop_free(tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Imports, calls of providers and the reads of the database each wait for a turn of the loop."""

    async def scenario() -> Inspection:
        loop = asyncio.get_running_loop()

        def await_turn(*_database: object) -> None:
            turned = threading.Event()
            loop.call_soon_threadsafe(turned.set)
            if not turned.wait(BLOCKED_LOOP_S):
                raise TimeoutError("the event loop is blocked")

        probe = ModuleType("loop_probe")
        monkeypatch.setattr(probe, "await_turn", await_turn, raising=False)
        monkeypatch.setitem(sys.modules, "loop_probe", probe)
        monkeypatch.setattr(apsw, "connection_hooks", [lambda db: db.filename and await_turn()])
        return await inspect_instance(tmp_path, {})

    initialise(tmp_path, environment={}, room=ROOM, owner="window:me")
    imported = "import loop_probe\nloop_probe.await_turn()"
    install(
        site,
        "acme-provider",
        "acme",
        PROVIDER.format(imported=imported, upstreams="return loop_probe.await_turn() or ()"),
    )
    inspection = asyncio.run(scenario())
    assert [report.state for report in inspection.plugins.value or ()] == [PluginState.ACTIVE]
    assert inspection.providers["claude"] == Checked("")
    assert inspection.agent_groups == Checked(1)


def test_inspection_of_two_plugins_of_one_name_is_an_error(tmp_path: Path, site: Path) -> None:
    install(site, "acme-one", "acme_one", "", plugin="chat")
    install(site, "acme-two", "acme_two", "", plugin="chat")
    inspection = inspect(tmp_path)
    assert isinstance(inspection.plugins.error, PluginError)
    assert [report.source for report in inspection.plugins.value or ()] == ["acme-one 1.2"]
    assert (inspection.runtimes, inspection.providers) == ({}, {})


def test_inspection_of_two_gateways_is_an_error(tmp_path: Path, site: Path) -> None:
    install(site, "acme-one", "acme_one", GATEWAY.format(name="one"), plugin="one")
    install(site, "acme-two", "acme_two", GATEWAY.format(name="two"), plugin="two")
    assert "got one, two" in str(inspect(tmp_path).gateway.error)


def test_plugin_reports_end_at_two_plugins_of_one_name(tmp_path: Path, site: Path) -> None:
    install(site, "acme-bad", "acme_bad", "raise SystemExit('imported')", plugin="bad")
    install(site, "acme-one", "acme_one", "", plugin="chat")
    install(site, "acme-two", "acme_two", "", plugin="chat")
    plugins = plugin_reports(Settings(home=tmp_path), {})
    assert [(report.name, report.state) for report in plugins.value or ()] == [
        ("bad", PluginState.FAILED),
        ("chat", PluginState.ACTIVE),
    ]
    assert isinstance(plugins.error, PluginError)


def test_inspection_of_an_exposing_runtime_has_both_facts(tmp_path: Path, site: Path) -> None:
    """The readiness of the engine is worth reporting although no sandbox may start."""
    initialise(tmp_path / "home", environment={}, room=ROOM, owner="window:me")
    install(site, "acme-runtime", "acme", RUNTIME.format(shown=f"return [Path({str(tmp_path)!r})]"))
    runtime = inspect(tmp_path / "home").runtimes["acme"]
    assert runtime.value is not None
    assert isinstance(runtime.error, SandboxRefused)


def test_inspection_of_a_hanging_runtime_names_the_limit(tmp_path: Path, site: Path) -> None:
    hanging = RUNTIME.format(shown="return []").replace("return Readiness(", "await asyncio.Event().wait(); Readiness(")
    install(site, "acme-runtime", "acme", f"import asyncio\n{hanging}")
    inspection = asyncio.run(inspect_instance(tmp_path, {}, runtime_timeout_s=0.05))
    error = inspection.runtimes["acme"].error
    assert (type(error), str(error)) == (TimeoutError, "did not answer within 0.05 s")


def test_inspection_of_an_endless_runtime_ends(tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its `check` and its `close` swallow each cancellation. The exit of the event loop does not wait either."""
    endless = """
        while not probe.ends.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)
"""
    runtime = RUNTIME.format(shown="return []").replace("        return Readiness(", f"{endless}        Readiness(")
    runtime = runtime.replace("        pass\n", endless)
    install(site, "acme-runtime", "acme", f"import asyncio, contextlib, probe\n{runtime}")
    with probe_module(monkeypatch):
        inspection = asyncio.run(inspect_instance(tmp_path, {}, runtime_timeout_s=0.05))
    error = inspection.runtimes["acme"].error
    assert (type(error), str(error)) == (TimeoutError, "did not answer within 0.05 s")


def test_inspection_of_a_blocking_provider_ends(tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(site, "acme-provider", "acme", PROVIDER.format(imported="import probe", upstreams="probe.ends.wait()"))
    with probe_module(monkeypatch):
        inspection = asyncio.run(inspect_instance(tmp_path, {}, runtime_timeout_s=0.05))
    assert isinstance(inspection.providers["claude"].error, TimeoutError)


def test_inspection_keeps_a_readiness_if_close_hangs(
    tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = RUNTIME.format(shown="return []").replace("        pass\n", "        probe.ends.wait()\n")
    install(site, "acme-runtime", "acme", f"import probe\n{runtime}")
    with probe_module(monkeypatch):
        checked = asyncio.run(inspect_instance(tmp_path, {}, runtime_timeout_s=0.05)).runtimes["acme"]
    assert checked.value is not None
    assert isinstance(checked.error, TimeoutError)


def test_inspection_plugin_raising_cancelled_has_the_error(tmp_path: Path, site: Path) -> None:
    """It would end the caller's own task."""
    install(site, "acme-runtime", "acme", RUNTIME.format(shown="import asyncio; raise asyncio.CancelledError"))
    cancelled = PROVIDER.format(imported="import asyncio", upstreams="raise asyncio.CancelledError")
    install(site, "acme-provider", "acme_claude", cancelled, plugin="claude")
    inspection = inspect(tmp_path)
    assert isinstance(inspection.runtimes["acme"].error, asyncio.CancelledError)
    assert isinstance(inspection.providers["claude"].error, asyncio.CancelledError)


def test_inspection_of_a_pipe_as_database_has_the_error(tmp_path: Path) -> None:
    """SQLite would wait for a writer without end."""
    (tmp_path / "data").mkdir()
    os.mkfifo(tmp_path / "data" / "nanoclaw.db")
    assert "is not a regular file" in str(inspect(tmp_path).agent_groups.error)


def test_inspection_has_each_mount_with_its_refusal(instance: Instance, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    entry = {"path": str(tmp_path / "shared"), "name": "shared", "writable": False}
    group_id = instance.group().id
    save_config(instance.db, evolve(config_of(instance.db, group_id), additional_mounts=[entry]))
    (check,) = inspect(instance.paths.home).mounts.value or ()
    assert (check.group_id, check.entry) == (group_id, entry)
    assert "core.allowed_mounts" in str(check.mount.error)


def test_inspection_of_unreadable_mounts_keeps_other_facts(instance: Instance) -> None:
    config = config_of(instance.db, instance.group().id)
    save_config(instance.db, config)
    instance.db.pragma("ignore_check_constraints", "on")
    instance.db.execute("UPDATE container_configs SET additional_mounts = '[{'")
    inspection = inspect(instance.paths.home)
    assert isinstance(inspection.mounts.error, ValueError)
    assert inspection.agent_groups.value == 1


@pytest.mark.parametrize("with_wal", [False, True])
def test_inspection_changes_no_file(tmp_path: Path, with_wal: bool) -> None:
    """SQLite would leave two files beside a database that no host uses."""
    initialise(tmp_path, environment={}, room=ROOM, owner="window:me")
    db = apsw.Connection(str(tmp_path / "data" / "nanoclaw.db"))
    if with_wal:  # as beside a running host
        db.execute("UPDATE agent_groups SET name = 'other'")
    else:
        db.close()
    before = files(tmp_path)
    assert inspect(tmp_path).agent_groups.value == 1
    assert files(tmp_path) == before
    db.close()


@pytest.mark.parametrize("with_shm", [False, True])
def test_inspection_leaves_the_log_of_a_killed_host(tmp_path: Path, with_shm: bool) -> None:
    """A writable directory is not needed, and the rows of the log are read."""
    initialise(tmp_path / "first", environment={}, room=ROOM, owner="window:me")
    db = apsw.Connection(str(tmp_path / "first" / "data" / "nanoclaw.db"))
    db.execute("DELETE FROM agent_groups")
    skipped = None if with_shm else shutil.ignore_patterns("*-shm")
    home = shutil.copytree(tmp_path / "first", tmp_path / "killed", ignore=skipped)
    db.close()
    before = files(home)
    (home / "data").chmod(0o500)
    assert inspect(home).agent_groups.value == 0
    (home / "data").chmod(0o700)
    assert files(home) == before


def test_inspection_sees_a_host_that_starts_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host writes after SQLite opened the file as one that nothing changes."""
    initialise(tmp_path, environment={}, room=ROOM, owner="window:me")
    hosts: list[apsw.Connection] = []

    def start_host(opened: apsw.Connection) -> None:
        if opened.filename and not hosts:
            hosts.append(opened)  # the connection below calls this hook too
            hosts.append(apsw.Connection(str(tmp_path / "data" / "nanoclaw.db")))
            hosts[1].execute("DELETE FROM agent_groups")

    monkeypatch.setattr(apsw, "connection_hooks", [start_host])
    assert inspect(tmp_path).agent_groups.value == 0
    hosts[1].close()


def test_inspection_of_a_running_host_sees_its_last_rows(bare_instance: Instance) -> None:
    async def scenario() -> Inspection:
        async with Host(bare_instance.settings, environment={}, use_installed_plugins=False):
            bare_instance.group()
            return await inspect_instance(bare_instance.paths.home, {})

    assert asyncio.run(scenario()).agent_groups.value == 1
