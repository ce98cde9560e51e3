"""Turns the facts of `nanoclaw_core.inspect_instance` into findings, and names the remedy for each problem.

The checks work with broken settings, a broken database and broken plugins.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import apsw
from nanoclaw_wire import clock
from nanoclaw_wire.suggestions import did_you_mean

from nanoclaw_cli.findings import Finding, Health, fail, ok, warn
from nanoclaw_cli.host_process import host_process_of
from nanoclaw_cli.invocation import shell_command
from nanoclaw_core import (
    Checked,
    Contribution,
    Contributions,
    Inspection,
    InstancePaths,
    NanoclawError,
    PluginReport,
    PluginState,
    Provider,
    Readiness,
    SandboxRefused,
    Settings,
    SettingsError,
    gateway_of,
    inspect_instance,
    missing_reason,
)

RUNTIME_TIMEOUT_S = 5.0
PAGE_CHECK_S = 30.0  # processor time for the pages of the central database; a running host is not blocked
LONG_WAIT_S = 120.0  # a short outage needs no action
LOW_DISK_BYTES = 500_000_000
MAX_SHOWN_CHARACTERS = 80
RESTORE = (
    "Restore the instance from a backup. Without one, `sqlite3 nanoclaw.db .recover` in its directory `data` "
    "writes SQL that recreates the readable rows in a new file."
)


async def run_checks(home: Path, environment: Mapping[str, str]) -> list[Finding]:
    """Run all checks. It never raises, writes nothing and uses no network."""
    paths = InstancePaths(home=home)
    ncl = shell_command("", home, environment).strip()
    facts = await inspect_instance(home, environment, page_check_s=PAGE_CHECK_S, runtime_timeout_s=RUNTIME_TIMEOUT_S)
    findings = [_python(), _directory(paths, ncl), _host(paths, ncl), _settings(facts), _database(facts, paths, ncl)]
    findings += _quarantined(facts)
    findings += _engage_patterns(facts, ncl)
    findings += _mounts(facts)
    if facts.contributions.value is None:
        return [*findings, fail("plugins", "all", str(facts.contributions.error), "Uninstall or disable one of them.")]
    offered, working = facts.contributions.value
    settings = facts.settings.value or Settings(home=home)
    disabled = settings.core.disabled_plugins
    findings += _plugins(facts.reports, settings)
    findings += _channels(working)
    findings += _waiting_messages(facts, working, ncl)
    findings += _runtimes(facts, _needs_isolation(working, settings, environment))
    findings += _selected("runtime", settings.core.runtime, working.runtimes, offered.runtimes, disabled)
    findings += _providers(working, settings, environment)
    findings += _selected("provider", settings.core.provider, working.providers, offered.providers, disabled)
    findings.append(_gateway(working, offered, disabled))
    return findings


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return ok("machine", "python", f"{version} at {sys.executable}")


def _directory(paths: InstancePaths, ncl: str) -> Finding:
    area, name, home, remedy = "instance", "home", paths.home, "Fix its permissions, or choose another --home."
    try:
        is_there = home.exists()
    except OSError as error:  # a parent directory is not readable
        return fail(area, name, f"{home}: {error.strerror}", remedy)
    if not is_there:
        return warn(area, name, f"{home} does not exist", f"Run `{ncl} init`.")
    top_level = (home, paths.data, paths.run, paths.logs, paths.groups)
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


def _host(paths: InstancePaths, ncl: str) -> Finding:
    process_id = host_process_of(paths.run)
    if process_id is None:
        return warn("instance", "host", "no host runs here", f"Start one with `{ncl} serve`.")
    return ok("instance", "host", f"process {process_id}")


def _quarantined(facts: Inspection) -> list[Finding]:
    """Report the sessions that were quarantined after damage. Empty if there are none."""
    if not facts.quarantined.value:
        return []
    detail = f"quarantined after damage: {', '.join(facts.quarantined.value)}"
    remedy = "The log gives the reason (`session quarantined`). Remove the directories when you no longer need them."
    return [warn("instance", "sessions", detail, remedy)]


def _settings(facts: Inspection) -> Finding:
    error = facts.settings.error
    if error is None:
        return ok("instance", "settings", "nanoclaw.toml is valid")
    remedy = error.remedy if isinstance(error, SettingsError) else ""
    detail = error.fault if isinstance(error, SettingsError) else _described(error)
    return fail("instance", "settings", detail, remedy or "Fix nanoclaw.toml.")


def _database(facts: Inspection, paths: InstancePaths, ncl: str) -> Finding:
    area, name = "instance", "database"
    if not os.path.exists(paths.database):  # noqa: PTH110  # Path.exists raises for a path that we may not read
        return warn(area, name, "it does not exist yet", f"Run `{ncl} init`.")
    groups, error = facts.agent_groups.value, facts.agent_groups.error or facts.database_damage.error
    if isinstance(error, apsw.NotADBError | apsw.CorruptError | apsw.SQLError):
        return fail(area, name, str(error), f"Restore {paths.database} from a backup.")
    if error is not None:
        return fail(area, name, str(error), f"Check the disk, and whether you own {paths.database}.")
    if facts.database_damage.value:
        return fail(area, name, f"{paths.database} is damaged: {facts.database_damage.value}", RESTORE)
    unreadable = [part.error for part in (facts.pattern_problems, facts.mounts, facts.waiting) if part.error]
    for error in unreadable:
        if not isinstance(error, apsw.Error):  # SQLite itself is fine; the tables of an older version are no damage
            return fail(area, name, f"{paths.database} has an unreadable row: {_described(error)}", RESTORE)
    if not os.access(paths.database, os.W_OK):
        return fail(area, name, f"{paths.database} is not writable", "Fix its permissions.")
    return ok(area, name, f"{groups} agent group{'' if groups == 1 else 's'}")


def _engage_patterns(facts: Inspection, ncl: str) -> list[Finding]:
    """Report wirings with an unusable or slow pattern. `_database` reports an unreadable database."""
    return [
        warn(
            "wirings",
            problem.wiring_id,
            f"the engage pattern {problem.pattern[:MAX_SHOWN_CHARACTERS]!r} {problem.reason}",
            f"Run `{ncl} wirings update {problem.wiring_id} --engage-pattern …` with a simpler pattern. "
            "A repetition of alternatives that match the same letters, as in (a|aa)+, is slow.",
        )
        for problem in facts.pattern_problems.value or ()
    ]


def _mounts(facts: Inspection) -> list[Finding]:
    """Report mounts that no sandbox gets. `_database` reports an unreadable database.

    Broken settings count as defaults, which allow no mount, so they refuse each one without a reason.
    """
    if facts.settings.error is not None:
        return []
    return [
        warn(
            "mounts",
            group_id,
            f"not mounted: {mount.error}",
            f"Fix it, or run `ncl groups config remove-mount {group_id} --name {entry.get('name')}`.",
        )
        for group_id, entry, mount in facts.mounts.value or ()
        if mount.error is not None
    ]


def _plugins(reports: Sequence[PluginReport], settings: Settings) -> list[Finding]:
    area = "plugins"
    findings = [_plugin(report) for report in reports]
    known = {report.name: report.state for report in reports}
    for name in settings.core.required_plugins:
        if known.get(name) in (None, PluginState.DISABLED):
            reason = "disabled" if name in known else "not installed"
            remedy = "Install and enable it, or remove it from core.required_plugins."
            findings.append(fail(area, name, f"required and {reason}: no host starts", remedy))
    for name in sorted(set(settings.core.disabled_plugins) - set(known)):
        remedy = did_you_mean(name, known, "Remove it from core.disabled_plugins.")
        findings.append(warn(area, name, "disabled, but no plugin of that name is installed", remedy))
    for table in sorted(settings.plugins.keys() - known.keys()):
        remedy = did_you_mean(table, known, "Install the plugin or remove the table.", "[plugins.{}]".format)
        findings.append(warn(area, table, f"[plugins.{table}] in nanoclaw.toml is for no installed plugin", remedy))
    if not reports:
        remedy = 'Run `pip install "nanoclaw-core[default]"`.'
        findings.append(fail(area, "all", "no plugin is installed", remedy))
    return findings


def _plugin(report: PluginReport) -> Finding:
    area, name = "plugins", report.name
    if report.state is PluginState.FAILED:
        disable = f"disable it: `ncl plugins disable {name}`."
        remedy = f"{report.remedy} Or {disable}" if report.remedy else f"Upgrade it, or {disable}"
        fault = report.reason.removesuffix(f". {report.remedy}")
        return fail(area, name, f"{report.source}: {fault}", remedy)
    if report.state is PluginState.NEEDS_SETTINGS:  # no problem: it may be unwanted
        remedy = f"In nanoclaw.toml {report.reason}; or disable it: `ncl plugins disable {name}`."
        return warn(area, name, f"{report.source}, {report.state.value}", remedy)
    return ok(area, name, f"{report.source}, {report.state.value}")


def _channels(working: Contributions) -> list[Finding]:
    """Report that no channel works. Empty if one does."""
    if working.channels:
        return []
    remedy = "Run `pip install nanoclaw-channel-terminal`, or fix or enable one of the channel plugins above."
    return [warn("channels", "all", "no channel works: the agents get no messages", remedy)]


def _waiting_messages(facts: Inspection, working: Contributions, ncl: str) -> list[Finding]:
    """Report channels with waiting messages. `_database` reports an unreadable database."""
    findings = []
    long_ago = clock.to_text(clock.now() - timedelta(seconds=LONG_WAIT_S))
    for channel, (count, oldest) in sorted((facts.waiting.value or {}).items()):
        if channel not in working.channels:
            remedy = "Install, enable or fix the channel, and restart the host. The messages wait until then."
        elif oldest < long_ago:
            remedy = f"The platform does not accept them. `{ncl} logs` shows why. The host keeps trying."
        else:
            continue
        detail = f"{count} message{'' if count == 1 else 's'} to be sent, the oldest since {oldest}"
        findings.append(warn("deliveries", channel, detail, remedy))
    return findings


def _runtimes(facts: Inspection, needs_isolation: bool) -> list[Finding]:
    findings = [finding for name, runtime in sorted(facts.runtimes.items()) for finding in _runtime(name, runtime)]
    usable = [runtime.value for runtime in facts.runtimes.values() if runtime.value and runtime.error is None]
    if not any(readiness.ready and readiness.isolates for readiness in usable):
        remedy = "Fix one of the runtimes above." if facts.runtimes else "Run `pip install nanoclaw-runtime-docker`."
        remedy += " Without one, only agents that run no tools can answer."
        takes_tools = any(readiness.ready and readiness.takes_tools_unisolated for readiness in usable)
        state = Health.PROBLEM if needs_isolation and not takes_tools else Health.WARNING
        detail = "no runtime isolates agents"
        findings.append(Finding(area="runtimes", name="isolation", state=state, detail=detail, remedy=remedy))
    return findings


def _runtime(name: str, runtime: Checked[Readiness]) -> list[Finding]:
    findings, readiness, error = [], runtime.value, runtime.error
    problem, advise = partial(fail, "runtimes", name), partial(warn, "runtimes", name)
    if readiness is not None:
        state = Health.OK if readiness.ready and readiness.isolates else Health.WARNING
        result = Finding(area="runtimes", name=name, state=state, detail=readiness.detail, remedy=readiness.remedy)
        findings += [result, *map(advise, readiness.missing_protections)]
    if isinstance(error, SandboxRefused):
        findings.append(problem(str(error), "No agent starts there until this is fixed."))
    elif isinstance(error, TimeoutError):
        detail = f"did not answer within {RUNTIME_TIMEOUT_S:.0f} s"
        findings.append(problem(detail, "Check whether its engine hangs."))
    elif error is not None:
        findings.append(problem(_described(error), "Fix or upgrade the plugin."))
    return findings


def _needs_isolation(working: Contributions, settings: Settings, environment: Mapping[str, str]) -> bool:
    """Return whether the default provider is usable and runs tools."""
    provider = working.providers.get(settings.core.provider)
    if provider is None or not provider.value.runs_tools:
        return False
    try:
        return not _missing(provider, working, environment)
    except Exception:  # the error boundary of this call; `_providers` reports the error
        return False


def _providers(working: Contributions, settings: Settings, environment: Mapping[str, str]) -> list[Finding]:
    area, default = "providers", settings.core.provider
    findings = []
    for name, provider in sorted(working.providers.items()):
        try:
            missing = _missing(provider, working, environment)
        except Exception as error:  # the call's error boundary: a provider is plugin code
            findings.append(fail(area, name, _described(error), "Fix or upgrade the plugin."))
            continue
        ready = "the default" if name == default else "ready"
        findings.append(warn(area, name, missing) if missing else ok(area, name, ready))
    return findings


def _missing(provider: Contribution[Provider], working: Contributions, environment: Mapping[str, str]) -> str:
    return missing_reason(provider.value.upstreams(working.plugin_settings.get(provider.plugin), environment))


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
    remedy = did_you_mean(name, offered, f"Fix the spelling of {name!r}, or install its plugin.")
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


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
