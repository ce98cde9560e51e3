"""The doctor: looks at everything a host needs, whether one runs or not, and says what to do about what is wrong.

It works with broken settings, a broken database and every plugin broken; each look is fenced by itself. To say what is
wrong beneath the core's public surface it looks beneath it, as few may: the import contracts name them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

import apsw
from attrs import frozen
from nanoclaw_client.suggestions import nearest
from nanoclaw_wire import clock

from nanoclaw_cli.host_process import host_process_of
from nanoclaw_cli.invocation import as_typed
from nanoclaw_core.descriptors.runtimes import Runtime
from nanoclaw_core.descriptors.sandboxes import Readiness
from nanoclaw_core.errors import NanoclawError, SandboxRefused
from nanoclaw_core.instance import RESTORE, Places, core_schema_damage
from nanoclaw_core.parts import Parts, collect, contexts, gateway_of, tables_of_nobody, with_settings
from nanoclaw_core.plugins import Offer, Plugins, Report, State
from nanoclaw_core.sandboxes.choice import why_missing
from nanoclaw_core.sandboxes.mounts import MountRefused, mount_policy, require_unexposed
from nanoclaw_core.settings import Settings, load_settings
from nanoclaw_core.store import deliveries, engage_patterns
from nanoclaw_core.store.agents import all_mounts
from nanoclaw_core.store.integrity import page_damage_within

LOOK_TIMEOUT_S = 5.0
CHECK_CPU_S = 30.0  # for the pages of the central database; a host that runs goes on meanwhile
LONG_WAIT_S = 120.0  # a short outage is nothing that a person has to act on
LOW_DISK_BYTES = 500_000_000
MAX_SHOWN_CHARACTERS = 80


class Health(str, Enum):
    """How something is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@frozen(kw_only=True)
class Finding:
    """One thing that was looked at. `remedy` is what to do; empty where nothing is to be done."""

    area: str
    name: str
    state: Health
    detail: str
    remedy: str = ""


async def run_checks(home: Path, environment: Mapping[str, str]) -> list[Finding]:
    """Look at everything; never raises, writes nothing, asks nothing of the network."""
    places = Places(home=home)
    ncl = as_typed("", home, environment).strip()
    settings, finding = _settings(home, environment)
    findings = [_python(), _directory(places, ncl), _host(places, ncl), finding, _database(places, ncl)]
    findings += _set_aside(places)
    findings += _engage_patterns(places, ncl)
    findings += _mounts(places, settings)
    disabled, plugins = settings.core.disabled_plugins, Plugins()
    try:
        plugins.load_installed(frozenset(disabled))
        offered = collect(plugins)
        parts = with_settings(offered, plugins, settings, environment)
    except Exception as error:  # two plugins of one name, or worse: the rest of the report still counts
        return [*findings, _problem("plugins", "all", str(error), "Uninstall or disable one of them.")]
    findings += _plugins(plugins, settings)
    findings += _channels(parts)
    findings += _waiting_messages(parts, places, ncl)
    findings += await _runtimes(parts, places, settings, environment)
    findings += _chosen("runtime", settings.core.runtime, parts.runtimes, offered.runtimes, disabled)
    findings += _providers(parts, settings, environment)
    findings += _chosen("provider", settings.core.provider, parts.providers, offered.providers, disabled)
    findings.append(_gateway(parts, offered, disabled))
    return findings


def installed(home: Path, environment: Mapping[str, str]) -> tuple[list[Report], str]:
    """Return what is known of every installed plugin without a host, and what went wrong on the way, or an empty text.

    Tables are not brought up to date here, so a plugin that fails at that seems to work.
    """
    settings, finding = _settings(home, environment)
    trouble = "" if finding.state is Health.OK else finding.detail
    plugins = Plugins()
    try:
        plugins.load_installed(frozenset(settings.core.disabled_plugins))
        with_settings(collect(plugins), plugins, settings, environment)
    except NanoclawError as error:
        trouble = str(error)
    return plugins.reports(), trouble


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return _ok("machine", "python", f"{version} at {sys.executable}")


def _directory(places: Places, ncl: str) -> Finding:
    area, name, home, remedy = "instance", "home", places.home, "Mend its permissions, or choose another --home."
    try:
        is_there = home.exists()
    except OSError as error:  # it is in a directory that we may not look into
        return _problem(area, name, f"{home}: {error.strerror}", remedy)
    if not is_there:
        return _warning(area, name, f"{home} does not exist", f"Run `{ncl} init`.")
    taken = [path for path in (home, places.data, places.run, places.logs, places.groups) if os.path.isfile(path)]  # noqa: PTH113
    if taken:
        return _problem(area, name, f"{taken[0]} is a file, not a directory", "Move it away.")
    made = (home, places.data, places.run, places.logs, places.groups, home / "sessions")
    closed = [str(path) for path in made if os.path.exists(path) and not os.access(path, os.W_OK | os.X_OK)]  # noqa: PTH110
    if closed:
        return _problem(area, name, f"not writable: {', '.join(closed)}", remedy)
    free = shutil.disk_usage(home).free
    if free < LOW_DISK_BYTES:
        return _problem(area, name, f"only {free // 1_000_000} MB are free at {home}", "Make space.")
    return _ok(area, name, str(home))


def _host(places: Places, ncl: str) -> Finding:
    process_id = host_process_of(places.run)
    if process_id is None:
        return _warning("instance", "host", "no host runs here", f"Start one with `{ncl} serve`.")
    return _ok("instance", "host", f"process {process_id}")


def _set_aside(places: Places) -> list[Finding]:
    """Say which sessions were damaged and set aside; nothing where none was."""
    names = sorted(path.name for path in (places.home / "sessions").glob("*.broken-*"))
    if not names:
        return []
    detail = f"damaged and set aside: {', '.join(names)}"
    remedy = "The log says why (`session set aside`). Remove the directories when you do not need them any more."
    return [_warning("instance", "sessions", detail, remedy)]


def _settings(home: Path, environment: Mapping[str, str]) -> tuple[Settings, Finding]:
    try:
        settings = load_settings(home, environment)
    except NanoclawError as error:
        return Settings(home=home), _problem("instance", "settings", str(error), "Mend nanoclaw.toml.")
    return settings, _ok("instance", "settings", "nanoclaw.toml reads well")


def _database(places: Places, ncl: str) -> Finding:
    area, name = "instance", "database"
    if not os.path.exists(places.database):  # noqa: PTH110  # Path.exists raises where we may not look
        return _warning(area, name, "there is none yet", f"Run `{ncl} init`.")
    try:
        with contextlib.closing(apsw.Connection(str(places.database), flags=apsw.SQLITE_OPEN_READONLY)) as db:
            groups = db.execute("SELECT count(*) FROM agent_groups").get
            damage = page_damage_within(db, CHECK_CPU_S) or core_schema_damage(db)
    except (apsw.NotADBError, apsw.CorruptError, apsw.SQLError) as error:
        return _problem(area, name, str(error), f"Put a copy of {places.database} from a backup in its place.")
    except apsw.Error as error:
        return _problem(area, name, str(error), f"Look at the disk, and whether {places.database} is yours.")
    if damage:
        return _problem(area, name, f"{places.database} is damaged: {damage}", RESTORE)
    if not os.access(places.database, os.W_OK):
        return _problem(area, name, f"{places.database} is not writable", "Mend its permissions.")
    return _ok(area, name, f"{groups} agent group{'' if groups == 1 else 's'}")


def _engage_patterns(places: Places, ncl: str) -> list[Finding]:
    """Name the wirings whose pattern cannot be used or timed out; an unreadable database is reported by `_database`."""
    if not os.path.exists(places.database):  # noqa: PTH110  # Path.exists raises where we may not look
        return []
    try:
        with contextlib.closing(apsw.Connection(str(places.database), flags=apsw.SQLITE_OPEN_READONLY)) as db:
            problems = engage_patterns.problems(db)
    except apsw.Error:
        return []
    return [
        _warning(
            "wirings",
            problem.wiring_id,
            f"the engage pattern {problem.pattern[:MAX_SHOWN_CHARACTERS]!r} {problem.reason}",
            f"Run `{ncl} wirings update {problem.wiring_id} --engage-pattern …` with a simpler pattern. "
            "A repetition of parts that can match the same letters, as in (a|aa)+, is slow.",
        )
        for problem in problems
    ]


def _mounts(places: Places, settings: Settings) -> list[Finding]:
    """Name the mounts that no sandbox gets; an unreadable database is reported by `_database`."""
    findings = []
    try:
        with contextlib.closing(apsw.Connection(str(places.database), flags=apsw.SQLITE_OPEN_READONLY)) as db:
            policy = mount_policy(db, settings)
            for group_id, mount in all_mounts(db):
                try:
                    policy.check(mount)
                except MountRefused as refusal:
                    remedy = f"Mend it, or run `ncl groups config remove-mount {group_id} --name {mount.get('name')}`."
                    findings.append(_warning("mounts", group_id, f"left out: {refusal}", remedy))
    except apsw.Error:
        return []
    return findings


def _plugins(plugins: Plugins, settings: Settings) -> list[Finding]:
    area, reports = "plugins", plugins.reports()
    findings = [_plugin(report) for report in reports]
    known = {report.name: report.state for report in reports}
    for name in settings.core.required_plugins:
        if known.get(name) in (None, State.DISABLED):
            trouble = "disabled" if name in known else "not installed"
            remedy = "Install and enable it, or take it out of core.required_plugins."
            findings.append(_problem(area, name, f"required and {trouble}: no host starts", remedy))
    for name in sorted(set(settings.core.disabled_plugins) - set(known)):
        near = nearest(name, known)
        remedy = f"Did you mean {near!r}?" if near else "Take it out of core.disabled_plugins."
        findings.append(_warning(area, name, "disabled, but no plugin of that name is installed", remedy))
    for table, remedy in tables_of_nobody(settings, list(known)).items():
        findings.append(_warning(area, table, f"[plugins.{table}] in nanoclaw.toml is for no installed plugin", remedy))
    if not reports:
        remedy = 'Run `pip install "nanoclaw-core[default]"`.'
        findings.append(_problem(area, "all", "no plugin is installed", remedy))
    return findings


def _plugin(report: Report) -> Finding:
    area, name = "plugins", report.name
    if report.state is State.FAILED:
        remedy = f"Mend its settings or upgrade it, or disable it: `ncl plugins disable {name}`."
        return _problem(area, name, f"{report.source}: {report.reason}", remedy)
    if report.state is State.NEEDS_SETTINGS:  # whoever does not want it has nothing to mend
        remedy = f"In nanoclaw.toml {report.reason}; or disable it: `ncl plugins disable {name}`."
        return _warning(area, name, f"{report.source}, {report.state.value}", remedy)
    return _ok(area, name, f"{report.source}, {report.state.value}")


def _channels(parts: Parts) -> list[Finding]:
    """Say so where nobody can talk to the agents; nothing where somebody can."""
    if parts.channels:
        return []
    remedy = "Run `pip install nanoclaw-channel-terminal`, or mend or enable the channel among the plugins above."
    return [_warning("channels", "all", "no channel works: nobody can talk to the agents", remedy)]


def _waiting_messages(parts: Parts, places: Places, ncl: str) -> list[Finding]:
    """Name the channels that messages have waited for; an unreadable database is reported by `_database`."""
    try:
        with contextlib.closing(apsw.Connection(str(places.database), flags=apsw.SQLITE_OPEN_READONLY)) as db:
            waiting = deliveries.waiting_by_channel(db)
    except apsw.Error:
        return []
    findings = []
    for channel, (count, oldest) in sorted(waiting.items()):
        if channel not in parts.channels:
            remedy = "Install, enable or mend the channel, and restart the host. Until then they wait."
        elif (clock.now() - clock.from_text(oldest)).total_seconds() > LONG_WAIT_S:
            remedy = f"The platform does not take them. `{ncl} logs` says why; the host keeps trying."
        else:
            continue
        detail = f"{count} message{'' if count == 1 else 's'} to be sent, the oldest since {oldest}"
        findings.append(_warning("deliveries", channel, detail, remedy))
    return findings


async def _runtimes(parts: Parts, places: Places, settings: Settings, environment: Mapping[str, str]) -> list[Finding]:
    with contextlib.closing(apsw.Connection(":memory:")) as database:
        context_of = contexts(parts, places=places, settings=settings, environment=environment, database=database)

        async def look(offer: Offer[Runtime]) -> Readiness:
            own = parts.plugin_settings.get(offer.plugin)
            adapter = offer.item.connect(own, context_of(offer.plugin), parts.for_sandboxes())
            try:
                readiness = await adapter.check()
                require_unexposed(await adapter.shown_directories(), [], places.home)
                return readiness
            finally:
                await adapter.close()

        names = sorted(parts.runtimes)
        looks = await asyncio.gather(*(_fenced_look(name, partial(look, parts.runtimes[name])) for name in names))
    findings = [finding for found, _ in looks for finding in found]
    if not any(one.state is Health.OK for one in findings):
        remedy = "Do what is said above of one of them" if looks else "Run `pip install nanoclaw-runtime-docker`"
        remedy += "; without any, only agents that run no tools can answer."
        is_stuck = _needs_isolation(parts, settings, environment) and not any(runs_tools for _, runs_tools in looks)
        state = Health.PROBLEM if is_stuck else Health.WARNING
        detail = "no runtime isolates agents"
        findings.append(Finding(area="runtimes", name="isolation", state=state, detail=detail, remedy=remedy))
    return findings


def _needs_isolation(parts: Parts, settings: Settings, environment: Mapping[str, str]) -> bool:
    """Say whether the default provider has what it needs, and runs tools."""
    offer = parts.providers.get(settings.core.provider)
    if offer is None or not offer.item.runs_tools:
        return False
    try:
        return not why_missing(offer.item.upstreams(parts.plugin_settings.get(offer.plugin), environment))
    except Exception:  # the call fence: what is wrong with the provider is said beside its name
        return False


async def _fenced_look(name: str, look: Callable[[], Awaitable[Readiness]]) -> tuple[list[Finding], bool]:
    """Examine a runtime; return the findings, and whether it takes agents that run tools."""
    try:
        async with asyncio.timeout(LOOK_TIMEOUT_S):
            readiness = await look()
        state = Health.OK if readiness.ready and readiness.isolates else Health.WARNING
        found = [Finding(area="runtimes", name=name, state=state, detail=readiness.detail, remedy=readiness.remedy)]
        found += [_warning("runtimes", name, protection) for protection in readiness.missing_protections]
        return found, readiness.ready and (readiness.isolates or readiness.takes_tools_unisolated)
    except SandboxRefused as refusal:
        return [_problem("runtimes", name, str(refusal), "Until then no agent starts there.")], False
    except TimeoutError:
        detail = f"did not answer within {LOOK_TIMEOUT_S:.0f} s"
        return [_problem("runtimes", name, detail, "Look whether its engine hangs.")], False
    except Exception as error:  # the call fence: a runtime is a plugin's code
        return [_problem("runtimes", name, f"{type(error).__name__}: {error}", "Mend or upgrade the plugin.")], False


def _providers(parts: Parts, settings: Settings, environment: Mapping[str, str]) -> list[Finding]:
    area, default = "providers", settings.core.provider
    findings = []
    for name, offer in sorted(parts.providers.items()):
        try:
            missing = why_missing(offer.item.upstreams(parts.plugin_settings.get(offer.plugin), environment))
        except Exception as error:  # the call fence: a provider is a plugin's code
            findings.append(_problem(area, name, f"{type(error).__name__}: {error}", "Mend or upgrade the plugin."))
            continue
        ready = "the default" if name == default else "ready"
        findings.append(_warning(area, name, missing) if missing else _ok(area, name, ready))
    return findings


def _chosen(
    kind: str,
    name: str,
    working: Mapping[str, Offer[Any]],
    offered: Mapping[str, Offer[Any]],
    disabled: Sequence[str],
) -> list[Finding]:
    """Say so where what core.runtime or core.provider names is not there; nothing where it is, or none is named."""
    area, what = f"{kind}s", f"the default {kind}"
    if not name or name in working:
        return []
    if name in offered:
        return [_left_out(area, name, what, offered[name].plugin)]
    if name in disabled:
        return [_problem(area, name, f"{what} is disabled", "Take it out of core.disabled_plugins.")]
    near = nearest(name, offered)
    remedy = f"Did you mean {near!r}?" if near else f"Mend the spelling of {name!r}, or install what offers it."
    return [_problem(area, name, f"{what} is not installed", remedy)]


def _gateway(parts: Parts, offered: Parts, disabled: Sequence[str]) -> Finding:
    area, name = "services", "gateway"
    try:
        found, meant = gateway_of(parts), gateway_of(offered)
    except NanoclawError as error:
        return _problem(area, name, str(error), "Disable one of them.")
    if found is None and meant is not None:
        return _left_out(area, name, "the model gateway", meant.plugin)
    if found is None:
        is_disabled = "gateway" in disabled
        remedy = (
            "Take it out of core.disabled_plugins." if is_disabled else "Run `pip install nanoclaw-resource-gateway`."
        )
        return _problem(area, name, "no model gateway: agents cannot reach a model", remedy)
    return _ok(area, name, f"from {found.plugin}")


def _left_out(area: str, name: str, what: str, plugin: str) -> Finding:
    detail = f"{what} is left out, because its plugin {plugin} does not work"
    return _problem(area, name, detail, f"Mend the plugin {plugin}, see above.")


def _ok(area: str, name: str, detail: str) -> Finding:
    return Finding(area=area, name=name, state=Health.OK, detail=detail)


def _warning(area: str, name: str, detail: str, remedy: str = "") -> Finding:
    return Finding(area=area, name=name, state=Health.WARNING, detail=detail, remedy=remedy)


def _problem(area: str, name: str, detail: str, remedy: str) -> Finding:
    return Finding(area=area, name=name, state=Health.PROBLEM, detail=detail, remedy=remedy)
