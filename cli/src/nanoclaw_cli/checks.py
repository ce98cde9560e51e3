"""Turns the facts of `nanoclaw_core.inspect_instance` into findings, and names the remedy for each problem.

The checks work with broken settings, a broken database and broken plugins.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Container, Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import apsw
from nanoclaw_untrusted.private_paths import exposure_of
from nanoclaw_wire import clock
from nanoclaw_wire.names import CENTRAL_DATABASE, SESSIONS, SETTINGS_FILE
from nanoclaw_wire.suggestions import did_you_mean

from nanoclaw_cli.findings import Finding, Health, ok, problem, warn
from nanoclaw_cli.host_process import host_process_of
from nanoclaw_cli.invocation import shell_command
from nanoclaw_core import (
    RESTORE,
    Checked,
    Inspection,
    PluginError,
    PluginReport,
    PluginState,
    Readiness,
    SandboxRefused,
    Settings,
    SettingsError,
    inspect_instance,
)

LONG_WAIT_S = 120.0  # a short outage needs no action
LOW_DISK_BYTES = 500_000_000
MAX_SHOWN_CHARACTERS = 80
DATABASE = Path("data", CENTRAL_DATABASE)


async def run_checks(home: Path, environment: Mapping[str, str]) -> list[Finding]:
    """Run all checks. It never raises, writes nothing and uses no network."""
    ncl = shell_command("", home, environment).strip()
    facts = await inspect_instance(home, environment)
    findings = [_python(), _directory(home, ncl), _host(home, ncl), _settings(facts), _database(facts, home, ncl)]
    findings += _quarantined(facts)
    remedy = "Its agent wrote too much. Read its conversation, or raise the limit in [core.budgets]."
    findings += [warn("instance", "budgets", source, remedy) for source in facts.full_budgets.value or ()]
    findings += _engage_patterns(facts, ncl)
    findings += _mounts(facts, ncl)
    if facts.plugins.error is not None:
        return [*findings, problem("plugins", "all", str(facts.plugins.error), "Uninstall or disable one of them.")]
    settings = facts.settings.value or Settings(home=home)
    core, disabled = settings.core, settings.core.disabled_plugins
    findings += _plugins(facts.plugins.value or (), settings, ncl)
    findings += _channels(facts)
    findings += _waiting_messages(facts, ncl)
    findings += _runtimes(facts, _needs_isolation(facts, core.provider))
    findings += _selected("runtime", core.runtime, facts.working.runtimes, facts.offered.runtimes, disabled)
    findings += _providers(facts, core.provider)
    findings += _selected("provider", core.provider, facts.working.providers, facts.offered.providers, disabled)
    findings.append(_gateway(facts, disabled))
    return findings


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return ok("machine", "python", f"{version} at {sys.executable}")


def _directory(home: Path, ncl: str) -> Finding:
    area, name, remedy = "instance", "home", "Fix its permissions, or choose another --home."
    try:
        is_there = home.exists()
    except OSError as error:  # a parent directory is not readable
        return problem(area, name, f"{home}: {error.strerror}", remedy)
    if not is_there:
        return warn(area, name, f"{home} does not exist", f"Run `{ncl} init`.")
    top_level = (home, home / "data", home / "run", home / "logs", home / "groups")
    files = [path for path in top_level if os.path.isfile(path)]  # noqa: PTH113
    if files:
        return problem(area, name, f"{files[0]} is a file, not a directory", "Move it away.")
    for path in (*top_level, home / SESSIONS, home / SETTINGS_FILE, home / DATABASE):
        with contextlib.suppress(OSError):  # reported below as not writable
            if (exposure := exposure_of(path)) is not None:
                return problem(area, name, exposure.fault, exposure.remedy)
    existing = [path for path in (*top_level, home / SESSIONS) if os.path.exists(path)]  # noqa: PTH110
    read_only = [str(path) for path in existing if not os.access(path, os.W_OK | os.X_OK)]
    if read_only:
        return problem(area, name, f"not writable: {', '.join(read_only)}", remedy)
    free = shutil.disk_usage(home).free
    if free < LOW_DISK_BYTES:
        return problem(area, name, f"only {free // 1_000_000} MB are free at {home}", "Free some space.")
    return ok(area, name, str(home))


def _host(home: Path, ncl: str) -> Finding:
    process_id = host_process_of(home / "run")
    if process_id is None:
        return warn("instance", "host", "no host runs here", f"Start one with `{ncl} serve`.")
    return ok("instance", "host", f"process {process_id}")


def _quarantined(facts: Inspection) -> list[Finding]:
    """Report the sessions that were quarantined after damage. Empty if there are none."""
    if not facts.quarantined.value:
        return []
    detail = f"quarantined after damage: {', '.join(facts.quarantined.value)}"
    remedy = "The log gives the reason (`session quarantined`). Copy what you need: the host removes the oldest."
    return [warn("instance", "sessions", detail, remedy)]


def _settings(facts: Inspection) -> Finding:
    error = facts.settings.error
    if error is None:
        has_file = facts.settings.value is not None and (facts.settings.value.home / SETTINGS_FILE).exists()
        return ok("instance", "settings", "nanoclaw.toml is valid" if has_file else "no nanoclaw.toml: defaults hold")
    remedy = error.remedy if isinstance(error, SettingsError) else ""
    detail = error.fault if isinstance(error, SettingsError) else _described(error)
    return problem("instance", "settings", detail, remedy or "Fix nanoclaw.toml.")


def _database(facts: Inspection, home: Path, ncl: str) -> Finding:
    area, name, path = "instance", "database", home / DATABASE
    if not os.path.exists(path):  # noqa: PTH110  # Path.exists raises for a path that we may not read
        return warn(area, name, "it does not exist yet", f"Run `{ncl} init`.")
    groups, error = facts.agent_groups.value, facts.agent_groups.error or facts.database_damage.error
    if isinstance(error, apsw.NotADBError | apsw.CorruptError | apsw.SQLError):
        return problem(area, name, str(error), f"Restore {path} from a backup.")
    if error is not None:
        return problem(area, name, str(error), f"Check the disk, and whether you own {path}.")
    if facts.database_damage.value:
        return problem(area, name, f"{path} is damaged: {facts.database_damage.value}", RESTORE)
    unreadable = [part.error for part in (facts.pattern_problems, facts.mounts, facts.waiting) if part.error]
    for error in unreadable:
        if not isinstance(error, apsw.Error):  # SQLite itself is fine; the tables of an older version are no damage
            return problem(area, name, f"{path} has an unreadable row: {_described(error)}", RESTORE)
    if not os.access(path, os.W_OK):
        return problem(area, name, f"{path} is not writable", "Fix its permissions.")
    return ok(area, name, f"{groups} agent group{'' if groups == 1 else 's'}")


def _engage_patterns(facts: Inspection, ncl: str) -> list[Finding]:
    """Report wirings with an unusable or slow pattern. `_database` reports an unreadable database."""
    return [
        warn(
            "wirings",
            wiring.wiring_id,
            f"the engage pattern {wiring.pattern[:MAX_SHOWN_CHARACTERS]!r} {wiring.reason}",
            f"Run `{ncl} wirings update {wiring.wiring_id} --engage-pattern …` with a simpler pattern. "
            "A repetition of alternatives that match the same letters, as in (a|aa)+, is slow.",
        )
        for wiring in facts.pattern_problems.value or ()
    ]


def _mounts(facts: Inspection, ncl: str) -> list[Finding]:
    """Report mounts that no sandbox gets. `_database` reports an unreadable database.

    Broken settings count as defaults, which allow no mount, so they refuse each one without a reason.
    """
    if facts.settings.error is not None:
        return []
    return [
        warn(
            "mounts",
            check.group_id,
            f"not mounted: {check.mount.error}",
            f"Fix it, or run `{ncl} groups config remove-mount {check.group_id} --name {check.entry.get('name')}`.",
        )
        for check in facts.mounts.value or ()
        if check.mount.error is not None
    ]


def _plugins(reports: Sequence[PluginReport], settings: Settings, ncl: str) -> list[Finding]:
    area = "plugins"
    findings = [_plugin(report, ncl) for report in reports]
    known = {report.name: report.state for report in reports}
    for name in settings.core.required_plugins:
        if known.get(name) in (None, PluginState.DISABLED):
            reason = "disabled" if name in known else "not installed"
            remedy = "Install and enable it, or remove it from core.required_plugins."
            findings.append(problem(area, name, f"required and {reason}: no host starts", remedy))
    for name in sorted(set(settings.core.disabled_plugins) - set(known)):
        remedy = did_you_mean(name, known, "Remove it from core.disabled_plugins.")
        findings.append(warn(area, name, "disabled, but no plugin of that name is installed", remedy))
    for table in sorted(settings.plugins.keys() - known.keys()):
        remedy = did_you_mean(table, known, "Install the plugin or remove the table.", "[plugins.{}]".format)
        findings.append(warn(area, table, f"[plugins.{table}] in nanoclaw.toml is for no installed plugin", remedy))
    if not reports:
        remedy = 'Run `pip install "nanoclaw-core[default]"`.'
        findings.append(problem(area, "all", "no plugin is installed", remedy))
    return findings


def _plugin(report: PluginReport, ncl: str) -> Finding:
    area, name = "plugins", report.name
    if report.state is PluginState.FAILED:
        disable = f"disable it: `{ncl} plugins disable {name}`."
        remedy = f"{report.remedy} Or {disable}" if report.remedy else f"Upgrade it, or {disable}"
        fault = report.reason.removesuffix(f". {report.remedy}")
        return problem(area, name, f"{report.source}: {fault}", remedy)
    if report.state is PluginState.NEEDS_SETTINGS:  # no problem: it may be unwanted
        remedy = f"In nanoclaw.toml {report.reason}; or disable it: `{ncl} plugins disable {name}`."
        return warn(area, name, f"{report.source}, {report.state.value}", remedy)
    return ok(area, name, f"{report.source}, {report.state.value}")


def _channels(facts: Inspection) -> list[Finding]:
    """Report that no channel works. Empty if one does."""
    if facts.working.channels:
        return []
    remedy = "Run `pip install nanoclaw-channel-terminal`, or fix or enable one of the channel plugins above."
    return [warn("channels", "all", "no channel works: the agents get no messages", remedy)]


def _waiting_messages(facts: Inspection, ncl: str) -> list[Finding]:
    """Report channels with waiting messages. `_database` reports an unreadable database."""
    findings = []
    long_ago = clock.to_text(clock.now() - timedelta(seconds=LONG_WAIT_S))
    for messages in facts.waiting.value or ():
        if messages.channel not in facts.working.channels:
            remedy = "Install, enable or fix the channel, and restart the host. The messages wait until then."
        elif messages.oldest_at < long_ago:
            remedy = f"The platform does not accept them. `{ncl} logs` shows why. The host keeps trying."
        else:
            continue
        ending = "" if messages.count == 1 else "s"
        detail = f"{messages.count} message{ending} to be sent, the oldest since {messages.oldest_at}"
        findings.append(warn("deliveries", messages.channel, detail, remedy))
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
    broken, advise = partial(problem, "runtimes", name), partial(warn, "runtimes", name)
    if readiness is not None:
        state = Health.OK if readiness.ready and readiness.isolates else Health.WARNING
        result = Finding(area="runtimes", name=name, state=state, detail=readiness.detail, remedy=readiness.remedy)
        findings += [result, *map(advise, readiness.missing_protections)]
    if isinstance(error, SandboxRefused):
        findings.append(broken(str(error), "No agent starts there until this is fixed."))
    elif isinstance(error, TimeoutError):
        findings.append(broken(str(error), "Check whether its engine hangs."))
    elif error is not None:
        findings.append(broken(_described(error), "Fix or upgrade the plugin."))
    return findings


def _needs_isolation(facts: Inspection, default: str) -> bool:
    """Return whether the default provider is usable and runs tools."""
    provider = facts.working.providers.get(default)
    return provider is not None and provider.value.runs_tools and facts.providers[default].value == ""


def _providers(facts: Inspection, default: str) -> list[Finding]:
    findings, area = [], "providers"
    for name, missing in sorted(facts.providers.items()):
        if missing.error is not None:
            findings.append(problem(area, name, _described(missing.error), "Fix or upgrade the plugin."))
        elif missing.value:
            findings.append(warn(area, name, missing.value))
        else:
            findings.append(ok(area, name, "the default" if name == default else "ready"))
    return findings


def _selected(
    kind: str, name: str, working: Container[str], offered: Mapping[str, Any], disabled: Sequence[str]
) -> list[Finding]:
    """Report a configured runtime or provider that does not work. Empty if it works or none is configured."""
    area, subject = f"{kind}s", f"the default {kind}"
    if not name or name in working:
        return []
    if name in offered:
        return [_unavailable(area, name, subject, offered[name].plugin)]
    if name in disabled:
        return [problem(area, name, f"{subject} is disabled", "Remove it from core.disabled_plugins.")]
    remedy = did_you_mean(name, offered, f"Fix the spelling of {name!r}, or install its plugin.")
    return [problem(area, name, f"{subject} is not installed", remedy)]


def _gateway(facts: Inspection, disabled: Sequence[str]) -> Finding:
    area, name, gateway = "services", "gateway", facts.gateway.value
    error = facts.gateway.error
    if isinstance(error, SettingsError):
        return problem(area, name, error.fault, error.remedy)
    if isinstance(error, PluginError):
        return problem(area, name, str(error), "Disable one of them.")
    if error is not None:
        return problem(area, name, _described(error), "Fix or upgrade the plugin.")
    if gateway is None:
        install = "Run `pip install nanoclaw-resource-gateway`."
        remedy = "Remove it from core.disabled_plugins." if "gateway" in disabled else install
        return problem(area, name, "no model gateway: agents cannot reach a model", remedy)
    if gateway.value.name not in facts.working.services:
        return _unavailable(area, name, "the model gateway", gateway.plugin)
    return ok(area, name, f"from {gateway.plugin}")


def _unavailable(area: str, name: str, subject: str, plugin: str) -> Finding:
    detail = f"{subject} is unavailable, because its plugin {plugin} does not work"
    return problem(area, name, detail, f"Fix the plugin {plugin}, see above.")


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
