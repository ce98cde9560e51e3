"""Inspection of an instance: facts for `ncl doctor` and for applications that embed the core.

Each part has its own error boundary, so it works if the settings, the database or the plugins are broken. The
inspection writes nothing and uses no network.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import apsw
from attrs import frozen

from nanoclaw_core.contributions import Contributions, contexts, load_contributions
from nanoclaw_core.descriptors.sandboxes import Mount, Readiness
from nanoclaw_core.errors import PLUGIN_ERRORS
from nanoclaw_core.instance import InstancePaths, core_schema_damage
from nanoclaw_core.plugins import PluginReport, Plugins
from nanoclaw_core.sandboxes.mounts import mount_policy, require_unexposed
from nanoclaw_core.sandboxes.quarantine import QUARANTINE_SUFFIX
from nanoclaw_core.settings import Settings, load_settings
from nanoclaw_core.store import agents, deliveries, engage_patterns, integrity

T = TypeVar("T")


@frozen
class Checked(Generic[T]):
    """The result of a check, and the error that ended it. One of them is None, except for a refused runtime."""

    value: T | None = None
    error: BaseException | None = None


@frozen(kw_only=True)
class Inspection:
    """The facts about one instance.

    Args:
        reports: The plugins. No migration runs, so a plugin with a failing migration seems to work.
        contributions: Those of all plugins, and those of the plugins with valid settings. The error is a PluginError if
            two plugins offer one name.
        runtimes: The runtimes of the plugins with valid settings. The error is a TimeoutError if one did not answer in
            time, and a SandboxRefused if each sandbox would see the instance directory.
        database_damage: The first damage of the central database's pages or definitions; empty if there is none.
        mounts: The additional mounts of the agent groups: the group, the entry, and the mount or its refusal.
        waiting: By channel, the number and the oldest creation time of the messages that are not delivered yet.
        quarantined: The names of the directories of sessions that were quarantined after damage.
    """

    settings: Checked[Settings]
    reports: Sequence[PluginReport]
    contributions: Checked[tuple[Contributions, Contributions]]
    runtimes: Mapping[str, Checked[Readiness]]
    agent_groups: Checked[int]
    database_damage: Checked[str]
    pattern_problems: Checked[Sequence[engage_patterns.PatternProblem]]
    mounts: Checked[Sequence[tuple[str, Mapping[str, Any], Checked[Mount]]]]
    waiting: Checked[Mapping[str, tuple[int, str]]]
    quarantined: Checked[Sequence[str]]


async def inspect_instance(
    home: Path, environment: Mapping[str, str], *, page_check_s: float = 30.0, runtime_timeout_s: float = 5.0
) -> Inspection:
    """Inspect an instance, whether a host runs on it or not. It never raises.

    Args:
        home: The instance directory. It may be absent.
        environment: The environment of the host.
        page_check_s: Processor time for the pages of the database. Damage that a longer check would find is not found.
        runtime_timeout_s: Time for the runtimes, which are checked side by side.
    """

    def read(query: Callable[[apsw.Connection], T]) -> Checked[T]:
        return _checked(_read, InstancePaths(home=home).database, query)

    def check_mounts(db: apsw.Connection) -> Sequence[tuple[str, Mapping[str, Any], Checked[Mount]]]:
        policy = mount_policy(db, valid)
        return [(group_id, entry, _checked(policy.check, entry)) for group_id, entry in agents.all_mounts(db)]

    plugins, settings = Plugins(), _checked(load_settings, home, environment)
    valid = settings.value or Settings(home=home)
    contributions = _checked(load_contributions, plugins, valid, environment)
    working = contributions.value[1] if contributions.value else None
    return Inspection(
        settings=settings,
        reports=plugins.reports(),
        contributions=contributions,
        runtimes=await _check_runtimes(working, valid, environment, runtime_timeout_s) if working else {},
        agent_groups=read(lambda db: db.execute("SELECT count(*) FROM agent_groups").get),
        database_damage=read(lambda db: integrity.page_damage_within(db, page_check_s) or core_schema_damage(db)),
        pattern_problems=read(engage_patterns.problems),
        mounts=read(check_mounts),
        waiting=read(deliveries.waiting_by_channel),
        quarantined=_checked(lambda: sorted(p.name for p in (home / "sessions").glob(f"*{QUARANTINE_SUFFIX}*"))),
    )


def _checked(check: Callable[..., T], *arguments: Any) -> Checked[T]:
    try:
        return Checked(check(*arguments))
    except PLUGIN_ERRORS as error:  # the error boundary of each part
        return Checked(error=error.with_traceback(None))  # its frames hold connections


def _read(path: Path, query: Callable[[apsw.Connection], T]) -> T:
    # Without the write-ahead log no host uses the file. `immutable` then keeps SQLite from creating files beside it.
    uri = f"{path.absolute().as_uri()}?immutable={not Path(f'{path}-wal').exists():d}"
    with contextlib.closing(apsw.Connection(uri, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)) as db:
        return query(db)


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
        except PLUGIN_ERRORS as error:  # error boundary: a runtime is plugin code
            return Checked(readiness, error.with_traceback(None))
        return Checked(readiness)

    return dict(zip(working.runtimes, await asyncio.gather(*map(check, working.runtimes)), strict=True))
