"""The doctor: looks at everything a host needs, whether one runs or not, and says what to do about what is wrong.

It works with broken settings, a broken database and every plugin broken; each look is fenced by itself.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Awaitable, Callable, Mapping
from enum import Enum
from pathlib import Path

import apsw
from attrs import frozen

from nanoclaw_core import lock
from nanoclaw_core.descriptors.context import PluginContext
from nanoclaw_core.descriptors.runtimes import Readiness
from nanoclaw_core.errors import NanoclawError
from nanoclaw_core.instance import Places
from nanoclaw_core.parts import Parts, collect, context_for, gateway_of, with_settings
from nanoclaw_core.plugins import Plugins, State
from nanoclaw_core.sandboxes.choice import why_missing
from nanoclaw_core.settings import Settings, load_settings

LOOK_TIMEOUT_S = 5.0
LOW_DISK_BYTES = 500_000_000


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


async def examine(home: Path, environment: Mapping[str, str]) -> list[Finding]:
    """Look at everything; never raises, writes nothing, asks nothing of the network."""
    places = Places(home=home)
    findings = [_python(), _home(places), _host(places)]
    settings, finding = _settings(home, environment)
    findings.append(finding)
    findings.append(_database(places))
    plugins = Plugins()
    try:
        plugins.load_installed(frozenset(settings.core.disabled_plugins))
        parts = with_settings(collect(plugins), plugins, settings, environment)
    except Exception as error:  # two plugins of one name, or worse: the rest of the report still counts
        return [*findings, _problem("plugins", "all", str(error), "Uninstall or disable one of them.")]
    findings += _plugins(plugins, settings)
    findings += await _runtimes(parts, places, settings, environment)
    findings += _providers(parts, settings, environment)
    findings.append(_gateway(parts))
    return findings


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return Finding(area="machine", name="python", state=Health.OK, detail=f"{version} at {sys.executable}")


def _home(places: Places) -> Finding:
    if not places.home.exists():
        return Finding(
            area="instance",
            name="home",
            state=Health.WARNING,
            detail=f"{places.home} does not exist",
            remedy="Run `ncl init`.",
        )
    if not os.access(places.home, os.W_OK):
        return _problem(
            "instance", "home", f"{places.home} is not writable", "Mend its permissions, or choose another --home."
        )
    free = shutil.disk_usage(places.home).free
    if free < LOW_DISK_BYTES:
        return _problem("instance", "home", f"only {free // 1_000_000} MB are free at {places.home}", "Make space.")
    return Finding(area="instance", name="home", state=Health.OK, detail=str(places.home))


def _host(places: Places) -> Finding:
    owner = lock.owner_of(places.run)
    if owner is None:
        return Finding(
            area="instance",
            name="host",
            state=Health.WARNING,
            detail="no host runs here",
            remedy="Start one with `ncl serve`.",
        )
    return Finding(area="instance", name="host", state=Health.OK, detail=f"process {owner}")


def _settings(home: Path, environment: Mapping[str, str]) -> tuple[Settings, Finding]:
    try:
        settings = load_settings(home, environment)
    except NanoclawError as error:
        return Settings(home=home), _problem("instance", "settings", str(error), "Mend nanoclaw.toml.")
    return settings, Finding(area="instance", name="settings", state=Health.OK, detail="nanoclaw.toml reads well")


def _database(places: Places) -> Finding:
    if not places.database.exists():
        return Finding(
            area="instance", name="database", state=Health.WARNING, detail="there is none yet", remedy="Run `ncl init`."
        )
    try:
        db = apsw.Connection(str(places.database), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            groups = db.execute("SELECT count(*) FROM agent_groups").get
        finally:
            db.close()
    except apsw.Error as error:
        return _problem(
            "instance", "database", str(error), f"Put a copy of {places.database} from a backup in its place."
        )
    return Finding(area="instance", name="database", state=Health.OK, detail=f"{groups} agent groups")


def _plugins(plugins: Plugins, settings: Settings) -> list[Finding]:
    findings = []
    for report in plugins.reports():
        if report.state is State.FAILED:
            findings.append(
                _problem(
                    "plugins",
                    report.name,
                    f"{report.source}: {report.reason}",
                    "Mend or upgrade it, or disable it in core.disabled_plugins.",
                )
            )
        else:
            findings.append(
                Finding(
                    area="plugins", name=report.name, state=Health.OK, detail=f"{report.source}, {report.state.value}"
                )
            )
    known = {report.name: report.state for report in plugins.reports()}
    for name in settings.core.required_plugins:
        if known.get(name) in (None, State.DISABLED):
            trouble = "disabled" if name in known else "not installed"
            remedy = "Install and enable it, or take it out of core.required_plugins."
            findings.append(_problem("plugins", name, f"required and {trouble}: no host starts", remedy))
    if not known:
        findings.append(
            _problem("plugins", "all", "no plugin is installed", 'Run `pip install "nanoclaw-core[default]"`.')
        )
    return findings


async def _runtimes(parts: Parts, places: Places, settings: Settings, environment: Mapping[str, str]) -> list[Finding]:
    base = PluginContext(
        plugin="core",
        instance_id=places.instance_id,
        home=places.home,
        data_dir=places.data,
        run_dir=places.run,
        environment=environment,
        database=apsw.Connection(":memory:"),
        owners=frozenset(settings.core.owners),
    )
    sandbox_parts = tuple(offer.item for offer in parts.sandbox_parts.values())

    async def look(name: str) -> Readiness:
        offer = parts.runtimes[name]
        context = context_for(offer.plugin, base, parts)
        adapter = offer.item.connect(parts.plugin_settings.get(offer.plugin), context, sandbox_parts)
        try:
            return await adapter.check()
        finally:
            await adapter.close()

    findings = [await _fenced_look(name, lambda name=name: look(name)) for name in sorted(parts.runtimes)]  # type: ignore[misc]
    base.database.close()
    usable = [one for one in findings if one.state is Health.OK]
    if not usable:
        remedy = "Install Docker or bubblewrap; without either only agents that run no tools can answer."
        findings.append(
            Finding(
                area="runtimes",
                name="isolation",
                state=Health.WARNING,
                detail="no runtime isolates agents",
                remedy=remedy,
            )
        )
    return findings


async def _fenced_look(name: str, look: Callable[[], Awaitable[Readiness]]) -> Finding:
    try:
        async with asyncio.timeout(LOOK_TIMEOUT_S):
            readiness = await look()
        state = Health.OK if readiness.ready and readiness.isolates else Health.WARNING
        return Finding(area="runtimes", name=name, state=state, detail=readiness.detail, remedy=readiness.remedy)
    except TimeoutError:
        return _problem(
            "runtimes", name, f"did not answer within {LOOK_TIMEOUT_S:.0f} s", "Look whether its engine hangs."
        )
    except Exception as error:  # the call fence: a runtime is a plugin's code
        return _problem("runtimes", name, f"{type(error).__name__}: {error}", "Mend or upgrade the plugin.")


def _providers(parts: Parts, settings: Settings, environment: Mapping[str, str]) -> list[Finding]:
    findings = []
    for name, offer in sorted(parts.providers.items()):
        try:
            missing = why_missing(offer.item.upstreams(parts.plugin_settings.get(offer.plugin), environment))
        except Exception as error:  # the call fence: a provider is a plugin's code
            findings.append(
                _problem("providers", name, f"{type(error).__name__}: {error}", "Mend or upgrade the plugin.")
            )
            continue
        state = Health.WARNING if missing else Health.OK
        detail = missing or ("the default" if name == settings.core.provider else "ready")
        findings.append(Finding(area="providers", name=name, state=state, detail=detail))
    if settings.core.provider not in parts.providers:
        name = settings.core.provider
        findings.append(
            _problem(
                "providers",
                name,
                "the default provider is not installed",
                f"Run `pip install nanoclaw-provider-{name}`.",
            )
        )
    return findings


def _gateway(parts: Parts) -> Finding:
    try:
        found = gateway_of(parts)
    except NanoclawError as error:
        return _problem("services", "gateway", str(error), "Disable one of them.")
    if found is None:
        return _problem(
            "services",
            "gateway",
            "no model gateway: agents cannot reach a model",
            "Run `pip install nanoclaw-resource-gateway`.",
        )
    return Finding(area="services", name="gateway", state=Health.OK, detail=f"from {found.plugin}")


def _problem(area: str, name: str, detail: str, remedy: str) -> Finding:
    return Finding(area=area, name=name, state=Health.PROBLEM, detail=detail, remedy=remedy)
