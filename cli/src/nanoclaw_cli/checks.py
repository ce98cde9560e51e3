"""Checks everything that a host needs, whether a host runs or not, and names the remedy for each problem.

The checks work with broken settings, a broken database and broken plugins; each check has its own error boundary. To
find causes, this module imports from below the core's public surface. The import contracts list it as an exception.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import apsw
from nanoclaw_client.suggestions import nearest
from nanoclaw_wire import clock

from nanoclaw_cli.findings import Finding, Health, fail, ok, warn
from nanoclaw_cli.host_process import host_process_of
from nanoclaw_cli.invocation import shell_command
from nanoclaw_core.contributions import (
    Contributions,
    apply_settings,
    collect_contributions,
    contexts,
    gateway_of,
    unknown_plugin_tables,
)
from nanoclaw_core.descriptors.runtimes import Runtime
from nanoclaw_core.descriptors.sandboxes import Readiness
from nanoclaw_core.errors import NanoclawError, SandboxRefused
from nanoclaw_core.instance import RESTORE, InstancePaths, core_schema_damage
from nanoclaw_core.plugins import Contribution, Plugins, Report, State
from nanoclaw_core.sandboxes.mounts import MountRefused, mount_policy, require_unexposed
from nanoclaw_core.sandboxes.selection import missing_reason
from nanoclaw_core.settings import Settings, load_settings
from nanoclaw_core.store import deliveries, engage_patterns
from nanoclaw_core.store.agents import all_mounts
from nanoclaw_core.store.integrity import page_damage_within

RUNTIME_TIMEOUT_S = 5.0
CHECK_CPU_S = 30.0  # for the pages of the central database; a running host is not blocked
LONG_WAIT_S = 120.0  # a short outage needs no action
LOW_DISK_BYTES = 500_000_000
MAX_SHOWN_CHARACTERS = 80


async def run_checks(home: Path, environment: Mapping[str, str]) -> list[Finding]:
    """Run all checks. It never raises, writes nothing and uses no network."""
    places = InstancePaths(home=home)
    ncl = shell_command("", home, environment).strip()
    settings, finding = _settings(home, environment)
    findings = [_python(), _directory(places, ncl), _host(places, ncl), finding, _database(places, ncl)]
    findings += _quarantined(places)
    findings += _engage_patterns(places, ncl)
    if finding.state is Health.OK:  # with the defaults of broken settings, each mount would seem forbidden
        findings += _mounts(places, settings)
    disabled, plugins = settings.core.disabled_plugins, Plugins()
    try:
        plugins.load_installed(frozenset(disabled))
        offered = collect_contributions(plugins)
        working = apply_settings(offered, plugins, settings, environment)
    except Exception as error:  # for example two plugins of one name; the findings so far still count
        return [*findings, fail("plugins", "all", str(error), "Uninstall or disable one of them.")]
    findings += _plugins(plugins, settings)
    findings += _channels(working)
    findings += _waiting_messages(working, places, ncl)
    findings += await _runtimes(working, places, settings, environment)
    findings += _selected("runtime", settings.core.runtime, working.runtimes, offered.runtimes, disabled)
    findings += _providers(working, settings, environment)
    findings += _selected("provider", settings.core.provider, working.providers, offered.providers, disabled)
    findings.append(_gateway(working, offered, disabled))
    return findings


def plugin_reports(home: Path, environment: Mapping[str, str]) -> tuple[list[Report], str]:
    """Load all installed plugins without a host; return their reports and an error message or "".

    No migration runs here, so a plugin with a failing migration seems to work.
    """
    settings, finding = _settings(home, environment)
    problem = "" if finding.state is Health.OK else finding.detail
    plugins = Plugins()
    try:
        plugins.load_installed(frozenset(settings.core.disabled_plugins))
        apply_settings(collect_contributions(plugins), plugins, settings, environment)
    except NanoclawError as error:
        problem = str(error)
    return plugins.reports(), problem


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return ok("machine", "python", f"{version} at {sys.executable}")


def _directory(places: InstancePaths, ncl: str) -> Finding:
    area, name, home, remedy = "instance", "home", places.home, "Fix its permissions, or choose another --home."
    try:
        is_there = home.exists()
    except OSError as error:  # a parent directory is not readable
        return fail(area, name, f"{home}: {error.strerror}", remedy)
    if not is_there:
        return warn(area, name, f"{home} does not exist", f"Run `{ncl} init`.")
    top_level = (home, places.data, places.run, places.logs, places.groups)
    files = [path for path in top_level if os.path.isfile(path)]  # noqa: PTH113
    if files:
        return fail(area, name, f"{files[0]} is a file, not a directory", "Move it away.")
    existing = [path for path in (*top_level, home / "sessions") if os.path.exists(path)]  # noqa: PTH110
    read_only = [str(path) for path in existing if not os.access(path, os.W_OK | os.X_OK)]
    if read_only:
        return fail(area, name, f"not writable: {', '.join(read_only)}", remedy)
    free = shutil.disk_usage(home).free
    if free < LOW_DISK_BYTES:
        return fail(area, name, f"only {free // 1_000_000} MB are free at {home}", "Free some space.")
    return ok(area, name, str(home))


def _host(places: InstancePaths, ncl: str) -> Finding:
    process_id = host_process_of(places.run)
    if process_id is None:
        return warn("instance", "host", "no host runs here", f"Start one with `{ncl} serve`.")
    return ok("instance", "host", f"process {process_id}")


def _quarantined(places: InstancePaths) -> list[Finding]:
    """Report the sessions that were quarantined after damage. Empty if there are none."""
    names = sorted(path.name for path in (places.home / "sessions").glob("*.broken-*"))
    if not names:
        return []
    detail = f"quarantined after damage: {', '.join(names)}"
    remedy = "The log gives the reason (`session quarantined`). Remove the directories when you no longer need them."
    return [warn("instance", "sessions", detail, remedy)]


def _settings(home: Path, environment: Mapping[str, str]) -> tuple[Settings, Finding]:
    try:
        settings = load_settings(home, environment)
    except NanoclawError as error:
        return Settings(home=home), fail("instance", "settings", str(error), "Fix nanoclaw.toml.")
    return settings, ok("instance", "settings", "nanoclaw.toml is valid")


def _database(places: InstancePaths, ncl: str) -> Finding:
    area, name = "instance", "database"
    if not os.path.exists(places.database):  # noqa: PTH110  # Path.exists raises for a path that we may not read
        return warn(area, name, "it does not exist yet", f"Run `{ncl} init`.")
    try:
        with contextlib.closing(apsw.Connection(str(places.database), flags=apsw.SQLITE_OPEN_READONLY)) as db:
            groups = db.execute("SELECT count(*) FROM agent_groups").get
            damage = page_damage_within(db, CHECK_CPU_S) or core_schema_damage(db)
    except (apsw.NotADBError, apsw.CorruptError, apsw.SQLError) as error:
        return fail(area, name, str(error), f"Restore {places.database} from a backup.")
    except apsw.Error as error:
        return fail(area, name, str(error), f"Check the disk, and whether you own {places.database}.")
    if damage:
        return fail(area, name, f"{places.database} is damaged: {damage}", RESTORE)
    if not os.access(places.database, os.W_OK):
        return fail(area, name, f"{places.database} is not writable", "Fix its permissions.")
    return ok(area, name, f"{groups} agent group{'' if groups == 1 else 's'}")


def _engage_patterns(places: InstancePaths, ncl: str) -> list[Finding]:
    """Report wirings with an unusable or slow pattern. `_database` reports an unreadable database."""
    try:
        with contextlib.closing(apsw.Connection(str(places.database), flags=apsw.SQLITE_OPEN_READONLY)) as db:
            problems = engage_patterns.problems(db)
    except apsw.Error:
        return []
    return [
        warn(
            "wirings",
            problem.wiring_id,
            f"the engage pattern {problem.pattern[:MAX_SHOWN_CHARACTERS]!r} {problem.reason}",
            f"Run `{ncl} wirings update {problem.wiring_id} --engage-pattern …` with a simpler pattern. "
            "A repetition of alternatives that match the same letters, as in (a|aa)+, is slow.",
        )
        for problem in problems
    ]


def _mounts(places: InstancePaths, settings: Settings) -> list[Finding]:
    """Report mounts that no sandbox gets. `_database` reports an unreadable database."""
    findings = []
    try:
        with contextlib.closing(apsw.Connection(str(places.database), flags=apsw.SQLITE_OPEN_READONLY)) as db:
            policy = mount_policy(db, settings)
            for group_id, mount in all_mounts(db):
                try:
                    policy.check(mount)
                except MountRefused as refusal:
                    remedy = f"Fix it, or run `ncl groups config remove-mount {group_id} --name {mount.get('name')}`."
                    findings.append(warn("mounts", group_id, f"not mounted: {refusal}", remedy))
    except apsw.Error:
        return []
    return findings


def _plugins(plugins: Plugins, settings: Settings) -> list[Finding]:
    area, reports = "plugins", plugins.reports()
    findings = [_plugin(report) for report in reports]
    known = {report.name: report.state for report in reports}
    for name in settings.core.required_plugins:
        if known.get(name) in (None, State.DISABLED):
            reason = "disabled" if name in known else "not installed"
            remedy = "Install and enable it, or remove it from core.required_plugins."
            findings.append(fail(area, name, f"required and {reason}: no host starts", remedy))
    for name in sorted(set(settings.core.disabled_plugins) - set(known)):
        near = nearest(name, known)
        remedy = f"Did you mean {near!r}?" if near else "Remove it from core.disabled_plugins."
        findings.append(warn(area, name, "disabled, but no plugin of that name is installed", remedy))
    for table, remedy in unknown_plugin_tables(settings, list(known)).items():
        findings.append(warn(area, table, f"[plugins.{table}] in nanoclaw.toml is for no installed plugin", remedy))
    if not reports:
        remedy = 'Run `pip install "nanoclaw-core[default]"`.'
        findings.append(fail(area, "all", "no plugin is installed", remedy))
    return findings


def _plugin(report: Report) -> Finding:
    area, name = "plugins", report.name
    if report.state is State.FAILED:
        remedy = f"Fix its settings, upgrade it, or disable it: `ncl plugins disable {name}`."
        return fail(area, name, f"{report.source}: {report.reason}", remedy)
    if report.state is State.NEEDS_SETTINGS:  # no problem: it may be unwanted
        remedy = f"In nanoclaw.toml {report.reason}; or disable it: `ncl plugins disable {name}`."
        return warn(area, name, f"{report.source}, {report.state.value}", remedy)
    return ok(area, name, f"{report.source}, {report.state.value}")


def _channels(working: Contributions) -> list[Finding]:
    """Report that no channel works. Empty if one does."""
    if working.channels:
        return []
    remedy = "Run `pip install nanoclaw-channel-terminal`, or fix or enable one of the channel plugins above."
    return [warn("channels", "all", "no channel works: the agents get no messages", remedy)]


def _waiting_messages(working: Contributions, places: InstancePaths, ncl: str) -> list[Finding]:
    """Report channels with waiting messages. `_database` reports an unreadable database."""
    try:
        with contextlib.closing(apsw.Connection(str(places.database), flags=apsw.SQLITE_OPEN_READONLY)) as db:
            waiting = deliveries.waiting_by_channel(db)
    except apsw.Error:
        return []
    findings = []
    for channel, (count, oldest) in sorted(waiting.items()):
        if channel not in working.channels:
            remedy = "Install, enable or fix the channel, and restart the host. The messages wait until then."
        elif (clock.now() - clock.from_text(oldest)).total_seconds() > LONG_WAIT_S:
            remedy = f"The platform does not accept them. `{ncl} logs` shows why. The host keeps trying."
        else:
            continue
        detail = f"{count} message{'' if count == 1 else 's'} to be sent, the oldest since {oldest}"
        findings.append(warn("deliveries", channel, detail, remedy))
    return findings


async def _runtimes(
    working: Contributions, places: InstancePaths, settings: Settings, environment: Mapping[str, str]
) -> list[Finding]:
    with contextlib.closing(apsw.Connection(":memory:")) as database:
        plugin_context = contexts(working, places=places, settings=settings, environment=environment, database=database)

        async def check(runtime: Contribution[Runtime]) -> Readiness:
            own = working.plugin_settings.get(runtime.plugin)
            adapter = runtime.value.connect(own, plugin_context(runtime.plugin), working.for_sandboxes())
            try:
                readiness = await adapter.check()
                require_unexposed(await adapter.shown_directories(), [], places.home)
                return readiness
            finally:
                await adapter.close()

        runtimes = sorted(working.runtimes.items(), key=lambda item: item[0])
        results = await asyncio.gather(*(_check_runtime(name, partial(check, runtime)) for name, runtime in runtimes))
    findings = [finding for runtime_findings, _ in results for finding in runtime_findings]
    if not any(finding.state is Health.OK for finding in findings):
        remedy = "Fix one of the runtimes above." if results else "Run `pip install nanoclaw-runtime-docker`."
        remedy += " Without one, only agents that run no tools can answer."
        is_stuck = _needs_isolation(working, settings, environment) and not any(runs_tools for _, runs_tools in results)
        state = Health.PROBLEM if is_stuck else Health.WARNING
        detail = "no runtime isolates agents"
        findings.append(Finding(area="runtimes", name="isolation", state=state, detail=detail, remedy=remedy))
    return findings


def _needs_isolation(working: Contributions, settings: Settings, environment: Mapping[str, str]) -> bool:
    """Return whether the default provider is usable and runs tools."""
    provider = working.providers.get(settings.core.provider)
    if provider is None or not provider.value.runs_tools:
        return False
    try:
        return not missing_reason(provider.value.upstreams(working.plugin_settings.get(provider.plugin), environment))
    except Exception:  # the error boundary of this call; `_providers` reports the error
        return False


async def _check_runtime(name: str, check: Callable[[], Awaitable[Readiness]]) -> tuple[list[Finding], bool]:
    """Check a runtime; return the findings, and whether it accepts agents that run tools."""
    try:
        async with asyncio.timeout(RUNTIME_TIMEOUT_S):
            readiness = await check()
        state = Health.OK if readiness.ready and readiness.isolates else Health.WARNING
        findings = [Finding(area="runtimes", name=name, state=state, detail=readiness.detail, remedy=readiness.remedy)]
        findings += [warn("runtimes", name, protection) for protection in readiness.missing_protections]
        return findings, readiness.ready and (readiness.isolates or readiness.takes_tools_unisolated)
    except SandboxRefused as refusal:
        return [fail("runtimes", name, str(refusal), "No agent starts there until this is fixed.")], False
    except TimeoutError:
        detail = f"did not answer within {RUNTIME_TIMEOUT_S:.0f} s"
        return [fail("runtimes", name, detail, "Check whether its engine hangs.")], False
    except Exception as error:  # the call's error boundary: a runtime is plugin code
        return [fail("runtimes", name, f"{type(error).__name__}: {error}", "Fix or upgrade the plugin.")], False


def _providers(working: Contributions, settings: Settings, environment: Mapping[str, str]) -> list[Finding]:
    area, default = "providers", settings.core.provider
    findings = []
    for name, provider in sorted(working.providers.items()):
        try:
            missing = missing_reason(
                provider.value.upstreams(working.plugin_settings.get(provider.plugin), environment)
            )
        except Exception as error:  # the call's error boundary: a provider is plugin code
            findings.append(fail(area, name, f"{type(error).__name__}: {error}", "Fix or upgrade the plugin."))
            continue
        ready = "the default" if name == default else "ready"
        findings.append(warn(area, name, missing) if missing else ok(area, name, ready))
    return findings


def _selected(
    kind: str,
    name: str,
    working: Mapping[str, Contribution[Any]],
    offered: Mapping[str, Contribution[Any]],
    disabled: Sequence[str],
) -> list[Finding]:
    """Report a configured runtime or provider that does not work. Empty if it works or none is configured."""
    area, subject = f"{kind}s", f"the default {kind}"
    if not name or name in working:
        return []
    if name in offered:
        return [_unavailable(area, name, subject, offered[name].plugin)]
    if name in disabled:
        return [fail(area, name, f"{subject} is disabled", "Remove it from core.disabled_plugins.")]
    near = nearest(name, offered)
    remedy = f"Did you mean {near!r}?" if near else f"Fix the spelling of {name!r}, or install its plugin."
    return [fail(area, name, f"{subject} is not installed", remedy)]


def _gateway(working: Contributions, offered: Contributions, disabled: Sequence[str]) -> Finding:
    area, name = "services", "gateway"
    try:
        gateway, broken = gateway_of(working), gateway_of(offered)
    except NanoclawError as error:
        return fail(area, name, str(error), "Disable one of them.")
    if gateway is None and broken is not None:
        return _unavailable(area, name, "the model gateway", broken.plugin)
    if gateway is None:
        install = "Run `pip install nanoclaw-resource-gateway`."
        remedy = "Remove it from core.disabled_plugins." if "gateway" in disabled else install
        return fail(area, name, "no model gateway: agents cannot reach a model", remedy)
    return ok(area, name, f"from {gateway.plugin}")


def _unavailable(area: str, name: str, subject: str, plugin: str) -> Finding:
    detail = f"{subject} is unavailable, because its plugin {plugin} does not work"
    return fail(area, name, detail, f"Fix the plugin {plugin}, see above.")
