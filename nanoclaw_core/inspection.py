"""Inspection of an instance: facts for `ncl doctor` and for applications that embed the core.

Each part has its own error boundary, so it works if the settings, the database or the plugins are broken. The
inspection uses no network and changes no file of the instance; `_read` names the one exception.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import apsw
from attrs import frozen
from nanoclaw_untrusted.database_checks import page_damage_within
from nanoclaw_untrusted.foreign_code import Checked, checked, checked_within
from nanoclaw_untrusted.unchanged_databases import read_unchanged

from nanoclaw_core.contributions import Contributions, collect_contributions, contexts, gateway_of, load_contributions
from nanoclaw_core.descriptors.sandboxes import Mount, Readiness
from nanoclaw_core.descriptors.services import Service
from nanoclaw_core.instance import InstancePaths, core_schema_damage
from nanoclaw_core.mailbox.directories import SessionDirectories
from nanoclaw_core.plugins import Contribution, PluginReport, Plugins
from nanoclaw_core.sandboxes.mounts import mount_policy, require_unexposed
from nanoclaw_core.sandboxes.selection import missing_reason
from nanoclaw_core.settings import Settings, load_settings
from nanoclaw_core.store import agents, deliveries, engage_patterns, usage
from nanoclaw_core.store.connection import BUSY_TIMEOUT_MS

T = TypeVar("T")
Query = Callable[[apsw.Connection], Any]


@frozen(kw_only=True)
class MountCheck:
    """An additional mount of an agent group: the entry of its config, and the mount or its refusal."""

    group_id: str
    entry: Mapping[str, Any]
    mount: Checked[Mount]


@frozen(kw_only=True)
class Inspection:
    """The facts about one instance.

    Args:
        plugins: The result of `plugin_reports`, with default settings if they are invalid.
        offered: The descriptors of all plugins, each with its plugin. Empty if two plugins offer one name.
        working: The descriptors of the plugins with valid settings.
        gateway: The service of `offered` that is the model gateway, or None. The error is a PluginError if there are
            several, and a SettingsError if it refuses the environment.
        providers: For each provider of `working`, the reason why no upstream is usable; empty if one is or none is
            needed.
        runtimes: The runtimes of `working`. The error is a TimeoutError if one did not answer in time, and a
            SandboxRefused if each sandbox would see the instance directory.
        database_damage: The first damage of the central database's pages or definitions; empty if there is none.
        mounts: The additional mounts of all agent groups.
        waiting: The messages that are not delivered yet, one item per channel in the order of the names.
        full_budgets: The sessions and rooms whose sandboxes exceeded a budget today, each with its counts.
        quarantined: The names of the directories of sessions that were quarantined after damage.
    """

    settings: Checked[Settings]
    plugins: Checked[Sequence[PluginReport]]
    offered: Contributions
    working: Contributions
    gateway: Checked[Contribution[Service] | None]
    providers: Mapping[str, Checked[str]]
    runtimes: Mapping[str, Checked[Readiness]]
    agent_groups: Checked[int]
    database_damage: Checked[str]
    pattern_problems: Checked[Sequence[engage_patterns.PatternProblem]]
    mounts: Checked[Sequence[MountCheck]]
    waiting: Checked[Sequence[deliveries.WaitingMessages]]
    full_budgets: Checked[Sequence[str]]
    quarantined: Checked[Sequence[str]]


async def inspect_instance(
    home: Path, environment: Mapping[str, str], *, page_check_s: float = 30.0, runtime_timeout_s: float = 5.0
) -> Inspection:
    """Inspect an instance, whether a host runs on it or not. It never raises.

    Worker threads import the plugins and read the files, one after the other. Each provider and each runtime has a
    thread of its own, and a runtime also its own event loop, so one that hangs delays neither the caller nor its exit.

    Args:
        home: The instance directory. It may be absent.
        environment: The environment of the host.
        page_check_s: Processor time for the pages of the database. Damage that a longer check would find is not found.
        runtime_timeout_s: Time for each provider, and for the runtimes, which are checked side by side. They have the
            same time again to stop.
    """

    def check(function: Callable[..., T], *arguments: Any) -> Awaitable[Checked[T]]:
        return asyncio.to_thread(checked, function, *arguments)

    plugins, settings = Plugins(), await check(load_settings, home, environment)
    valid = settings.value or Settings(home=home)
    loaded = await check(load_contributions, plugins, valid, environment)
    offered, working = loaded.value or [collect_contributions(Plugins())] * 2
    queries: Mapping[str, Query] = {
        "agent_groups": lambda db: db.execute("SELECT count(*) FROM agent_groups").get,
        "database_damage": lambda db: page_damage_within(db, page_check_s) or core_schema_damage(db),
        "pattern_problems": engage_patterns.problems,
        "mounts": lambda db: _check_mounts(db, valid),
        "waiting": deliveries.waiting_by_channel,
        "full_budgets": lambda db: usage.full_sources(db, valid.core.budgets),
    }
    read = await check(_read, InstancePaths(home=home).database, queries)
    return Inspection(
        settings=settings,
        plugins=Checked(plugins.reports(), loaded.error),
        offered=offered,
        working=working,
        gateway=checked(_check_gateway, offered, working, valid, environment),
        providers={
            name: await checked_within(runtime_timeout_s, _missing, working, name, environment)
            for name in working.providers
        },
        runtimes=await _check_runtimes(working, valid, environment, runtime_timeout_s),
        quarantined=await check(lambda: sorted(SessionDirectories(home / "sessions").quarantined())),
        **(read.value or dict.fromkeys(queries, Checked[Any](error=read.error))),
    )


def plugin_reports(settings: Settings, environment: Mapping[str, str]) -> Checked[Sequence[PluginReport]]:
    """Import the installed plugins without a host, and return their reports. It never raises.

    No migration runs, so a plugin with a failing migration seems to work. The error is a PluginError if two plugins
    offer one name; some plugins have no report then.
    """
    plugins = Plugins()
    loaded = checked(load_contributions, plugins, settings, environment)
    return Checked(plugins.reports(), loaded.error)


def _read(path: Path, queries: Mapping[str, Query]) -> dict[str, Checked[Any]]:
    """Answer queries about the central database without changing its files; `read_unchanged` names the exceptions."""

    def answer(db: apsw.Connection) -> dict[str, Checked[Any]]:
        return {name: checked(query, db) for name, query in queries.items()}

    return read_unchanged(path, answer, busy_timeout_ms=BUSY_TIMEOUT_MS)


def _missing(working: Contributions, name: str, environment: Mapping[str, str]) -> str:
    provider = working.providers[name]
    return missing_reason(provider.value.upstreams(working.plugin_settings.get(provider.plugin), environment))


def _check_gateway(
    offered: Contributions, working: Contributions, settings: Settings, environment: Mapping[str, str]
) -> Contribution[Service] | None:
    gateway = gateway_of(offered)
    if gateway is not None and gateway.value.name in working.services:
        context = contexts(working, settings, environment, apsw.Connection(":memory:"))(gateway.plugin)
        gateway.value.connect(context.settings, context)
    return gateway


def _check_mounts(db: apsw.Connection, settings: Settings) -> Sequence[MountCheck]:
    check, mounts = mount_policy(db, settings).check, agents.all_mounts(db)
    return [MountCheck(group_id=group, entry=entry, mount=checked(check, entry)) for group, entry in mounts]


async def _check_runtimes(
    working: Contributions, settings: Settings, environment: Mapping[str, str], timeout_s: float
) -> Mapping[str, Checked[Readiness]]:
    readiness: dict[str, Readiness] = {}

    async def check(name: str) -> None:
        runtime, database = working.runtimes[name], apsw.Connection(":memory:")  # the instance's own may be broken
        context = contexts(working, settings, environment, database)(runtime.plugin)
        adapter = runtime.value.connect(context.settings, context, working.for_sandboxes())
        async with asyncio.timeout(timeout_s), contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(adapter.close)
            answer = await adapter.check()
            if not isinstance(answer, Readiness):
                raise TypeError(f"`check` must return a Readiness, got {answer!r}")
            readiness[name] = answer
            require_unexposed(await adapter.shown_directories(), [], settings.home)

    async def check_within(name: str) -> Checked[Readiness]:
        answer = await checked_within(timeout_s, lambda: asyncio.run(check(name)))
        return Checked(readiness.get(name), answer.error)

    return dict(zip(working.runtimes, await asyncio.gather(*map(check_within, working.runtimes)), strict=True))
