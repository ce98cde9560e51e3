"""Inspection of an instance: facts for `ncl doctor` and for applications that embed the core.

Each part has its own error boundary, so it works if the settings, the database or the plugins are broken. The
inspection writes nothing and uses no network.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import apsw
from attrs import frozen

from nanoclaw_core.contributions import Contributions, collect_contributions, contexts, gateway_of, load_contributions
from nanoclaw_core.descriptors.sandboxes import Mount, Readiness
from nanoclaw_core.descriptors.services import Service
from nanoclaw_core.errors import PLUGIN_ERRORS
from nanoclaw_core.instance import InstancePaths, core_schema_damage
from nanoclaw_core.plugins import Contribution, PluginReport, Plugins
from nanoclaw_core.sandboxes.mounts import mount_policy, require_unexposed
from nanoclaw_core.sandboxes.quarantine import QUARANTINE_SUFFIX
from nanoclaw_core.sandboxes.selection import missing_reason
from nanoclaw_core.settings import Settings, load_settings
from nanoclaw_core.store import agents, deliveries, engage_patterns, integrity

T = TypeVar("T")


@frozen
class Checked(Generic[T]):
    """The result of a check, and the error that ended it. One of them is None. Plugins and a runtime may have both."""

    value: T | None = None
    error: BaseException | None = None


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
            several.
        providers: For each provider of `working`, the reason why no upstream is usable; empty if one is or none is
            needed.
        runtimes: The runtimes of `working`. The error is a TimeoutError if one did not answer in time, and a
            SandboxRefused if each sandbox would see the instance directory.
        database_damage: The first damage of the central database's pages or definitions; empty if there is none.
        mounts: The additional mounts of all agent groups.
        waiting: The messages that are not delivered yet, one item per channel in the order of the names.
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
    quarantined: Checked[Sequence[str]]


async def inspect_instance(
    home: Path, environment: Mapping[str, str], *, page_check_s: float = 30.0, runtime_timeout_s: float = 5.0
) -> Inspection:
    """Inspect an instance, whether a host runs on it or not. It never raises.

    Worker threads import the plugins, call the providers and read the files, one after the other, so the event loop
    goes on. The runtimes are asynchronous and run on the event loop.

    Args:
        home: The instance directory. It may be absent.
        environment: The environment of the host.
        page_check_s: Processor time for the pages of the database. Damage that a longer check would find is not found.
        runtime_timeout_s: Time for the runtimes, which are checked side by side.
    """

    def check(function: Callable[..., T], *arguments: Any) -> Awaitable[Checked[T]]:
        return asyncio.to_thread(_checked, function, *arguments)

    def read(query: Callable[..., T], *arguments: Any) -> Awaitable[Checked[T]]:
        return check(_read, InstancePaths(home=home).database, query, *arguments)

    plugins, settings = Plugins(), await check(load_settings, home, environment)
    valid = settings.value or Settings(home=home)
    loaded = await check(load_contributions, plugins, valid, environment)
    offered, working = loaded.value or [collect_contributions(Plugins())] * 2
    return Inspection(
        settings=settings,
        plugins=Checked(plugins.reports(), loaded.error),
        offered=offered,
        working=working,
        gateway=_checked(gateway_of, offered),
        providers={name: await check(_missing, working, name, environment) for name in working.providers},
        runtimes=await _check_runtimes(working, valid, environment, runtime_timeout_s),
        agent_groups=await read(lambda db: db.execute("SELECT count(*) FROM agent_groups").get),
        database_damage=await read(lambda db: integrity.page_damage_within(db, page_check_s) or core_schema_damage(db)),
        pattern_problems=await read(engage_patterns.problems),
        mounts=await read(_check_mounts, valid),
        waiting=await read(deliveries.waiting_by_channel),
        quarantined=await check(lambda: sorted(p.name for p in (home / "sessions").glob(f"*{QUARANTINE_SUFFIX}*"))),
    )


def plugin_reports(settings: Settings, environment: Mapping[str, str]) -> Checked[Sequence[PluginReport]]:
    """Import the installed plugins without a host, and return their reports. It never raises.

    No migration runs, so a plugin with a failing migration seems to work. The error is a PluginError if two plugins
    offer one name; some plugins have no report then.
    """
    plugins = Plugins()
    loaded = _checked(load_contributions, plugins, settings, environment)
    return Checked(plugins.reports(), loaded.error)


def _checked(check: Callable[..., T], *arguments: Any) -> Checked[T]:
    try:
        return Checked(check(*arguments))
    except PLUGIN_ERRORS as error:  # the error boundary of each part
        return Checked(error=error.with_traceback(None))  # its frames hold connections


def _read(path: Path, query: Callable[..., T], *arguments: Any) -> T:
    # Without the write-ahead log no host uses the file. `immutable` then keeps SQLite from creating files beside it.
    uri = f"{path.absolute().as_uri()}?immutable={not Path(f'{path}-wal').exists():d}"
    with contextlib.closing(apsw.Connection(uri, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)) as db:
        return query(db, *arguments)


def _missing(working: Contributions, name: str, environment: Mapping[str, str]) -> str:
    provider = working.providers[name]
    return missing_reason(provider.value.upstreams(working.plugin_settings.get(provider.plugin), environment))


def _check_mounts(db: apsw.Connection, settings: Settings) -> Sequence[MountCheck]:
    check, mounts = mount_policy(db, settings).check, agents.all_mounts(db)
    return [MountCheck(group_id=group, entry=entry, mount=_checked(check, entry)) for group, entry in mounts]


async def _check_runtimes(
    working: Contributions, settings: Settings, environment: Mapping[str, str], timeout_s: float
) -> Mapping[str, Checked[Readiness]]:
    context_of = contexts(working, settings, environment, apsw.Connection(":memory:"))  # the database may be broken

    async def check(name: str) -> Checked[Readiness]:
        runtime, readiness = working.runtimes[name], None
        context = context_of(runtime.plugin)
        try:
            adapter = runtime.value.connect(context.settings, context, working.for_sandboxes())
            async with asyncio.timeout(timeout_s), contextlib.AsyncExitStack() as stack:
                stack.push_async_callback(adapter.close)
                answer = await adapter.check()
                if not isinstance(answer, Readiness):
                    raise TypeError(f"`check` must return a Readiness, got {answer!r}")
                readiness = answer
                require_unexposed(await adapter.shown_directories(), [], settings.home)
        except TimeoutError:
            return Checked(readiness, TimeoutError(f"did not answer within {timeout_s:g} s"))
        except PLUGIN_ERRORS as error:  # error boundary: a runtime is plugin code
            return Checked(readiness, error.with_traceback(None))
        return Checked(readiness)

    return dict(zip(working.runtimes, await asyncio.gather(*map(check, working.runtimes)), strict=True))
