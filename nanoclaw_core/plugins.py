"""The plugins of one host, behind three error boundaries: load, call and run.

Load covers import and registration, call covers each hook, and run covers each task. A plugin that fails at any stage
is recorded with its distribution and the reason, and nothing else stops. Installed plugins are found from metadata
alone, without imports.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any, Generic, TypeVar

import pluggy
from attrs import frozen
from nanoclaw_untrusted.installed_plugins import InstalledPlugin, find_entry_points
from nanoclaw_wire.log_lines import describe

from nanoclaw_core import hookspecs
from nanoclaw_core.descriptors.names import require_name
from nanoclaw_core.descriptors.votes import Verdict, Vote
from nanoclaw_core.errors import PLUGIN_ERRORS, NanoclawError, NeedsSettings, PluginError, SettingsError

log = logging.getLogger(__name__)
T = TypeVar("T")


class PluginState(Enum):
    """State of a plugin."""

    ACTIVE = "active"
    DISABLED = "disabled"
    NEEDS_SETTINGS = "needs settings"
    FAILED = "failed"


@frozen(kw_only=True)
class PluginReport:
    """The state of one plugin.

    Args:
        reason: The failure and its remedy, or the missing settings; empty if it works.
        remedy: The end of the reason that says how to fix invalid settings; else empty.
    """

    name: str
    source: str
    state: PluginState
    reason: str = ""
    remedy: str = ""

    def as_json_object(self) -> dict[str, str]:
        """Return the report for verbs and JSON output."""
        return {"name": self.name, "state": self.state.value, "distribution": self.source, "reason": self.reason}


@frozen
class Contribution(Generic[T]):
    """A descriptor and the plugin it came from."""

    value: T
    plugin: str


def find_installed_plugins() -> list[InstalledPlugin]:
    """Return the installed plugins in name order; read metadata only."""
    return find_entry_points(hookspecs.GROUP)


class Plugins:
    """The plugins of one running host. Create one per host and per test."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager(hookspecs.GROUP)
        self._manager.add_hookspecs(hookspecs)
        self._reports: dict[str, PluginReport] = {}

    def load_installed(self, disabled: frozenset[str] = frozenset()) -> None:
        """Load all installed plugins in name order; record and skip broken ones.

        Raises:
            PluginError: Two distributions have plugins with one name.
        """
        for plugin in find_installed_plugins():
            name, source = plugin.name, plugin.source
            if name in disabled:
                self._reports[name] = PluginReport(name=name, source=source, state=PluginState.DISABLED)
                continue
            self._require_unique(name, source)
            try:
                self.add(plugin.entry_point.load(), name=name, source=source)
            except PLUGIN_ERRORS as error:  # error boundary: a plugin may raise anything at import
                self.record_failure(name, error, source)

    def add(self, plugin: object, *, name: str, source: str = "in process") -> None:
        """Register one plugin object; an invalid one leaves no trace.

        Raises:
            PluginError: The name is invalid or exists already, a hook does not match its specification, or the plugin
                is a class.
        """
        self._require_unique(name, source)
        try:
            _check_plugin(plugin, name)
            self._manager.register(plugin, name=name)
            self._manager.check_pending()
        except PLUGIN_ERRORS as error:  # error boundary: registration reads the plugin's own attributes
            if self._manager.has_plugin(name):
                self._manager.unregister(name=name)
            raise PluginError(f"plugin {name!r} ({source}): {error}") from error
        self._reports[name] = PluginReport(name=name, source=source, state=PluginState.ACTIVE)

    def collect(
        self,
        hook: str,
        kind: type[T],
        *,
        key: Callable[[T], str] = lambda item: str(getattr(item, "name", "")),
        **arguments: object,
    ) -> dict[str, Contribution[T]]:
        """Call a collect hook with its arguments, and return its descriptors by name.

        Raises:
            PluginError: Two plugins offer descriptors with one name.
        """
        contributions: dict[str, Contribution[T]] = {}
        for implementation in self._implementations(hook):
            for item in self._descriptors(implementation, hook, kind, **arguments):
                name = key(item)
                if name in contributions:
                    first = self._reports[contributions[name].plugin].source
                    second = self._reports[implementation.plugin_name].source
                    raise PluginError(f"{hook}: {name!r} is offered by both {first} and {second}. Disable one of them.")
                contributions[name] = Contribution(item, implementation.plugin_name)
        return contributions

    def collect_all(self, hook: str, kind: type[T]) -> dict[str, list[T]]:
        """Call a collect hook with ordered lists, like migrations; return them by plugin."""
        by_plugin = {i.plugin_name: self._descriptors(i, hook, kind) for i in self._implementations(hook)}
        return {plugin: items for plugin, items in by_plugin.items() if items}

    def permits(self, hook: str, **arguments: object) -> Verdict:
        """Return the result of a vote: one DENY wins; an exception or no vote is a DENY (I8)."""
        allowed: Verdict | None = None
        for plugin, verdict in self._votes(hook, arguments):
            if verdict is not None and verdict.vote is Vote.DENY:
                return Verdict(Vote.DENY, verdict.reason or f"{plugin} said no")
            allowed = allowed or verdict
        return allowed or Verdict(Vote.DENY, "no plugin allowed it")

    def objection(self, hook: str, **arguments: object) -> Verdict | None:
        """Return the first DENY against a request that is already allowed, or None."""
        denials = (verdict for _, verdict in self._votes(hook, arguments) if verdict and verdict.vote is Vote.DENY)
        return next(denials, None)

    def notify(self, hook: str, **arguments: object) -> None:
        """Call a notify hook; log and skip an implementation that raises."""
        for implementation in self._implementations(hook):
            try:
                _call(implementation, arguments)
            except PLUGIN_ERRORS as error:  # error boundary: the event has already happened
                about = {"plugin": implementation.plugin_name, "hook": hook}
                log.error("notify hook failed", extra=about | describe(error))

    def record_failure(self, name: str, error: BaseException, source: str = "in process") -> None:
        """Record and log the failure of a plugin at any stage; a known source is kept."""
        source = self._reports[name].source if name in self._reports else source
        has_remedy = isinstance(error, NanoclawError)  # other errors need a traceback in the log
        reason = str(error) if has_remedy else f"{type(error).__name__}: {error}"
        state = PluginState.NEEDS_SETTINGS if isinstance(error, NeedsSettings) else PluginState.FAILED
        remedy = error.remedy if isinstance(error, SettingsError) else ""
        self._reports[name] = PluginReport(name=name, source=source, state=state, reason=reason, remedy=remedy)
        level = logging.WARNING if isinstance(error, SettingsError) else logging.ERROR
        extra = {"plugin": name, "source": source, "state": state.value, "reason": reason}
        log.log(level, "plugin does not work", extra=extra, exc_info=None if has_remedy else error)

    def failures(self) -> dict[str, str]:
        """Return the plugins that do not work, with the reasons by name."""
        return {report.name: report.reason for report in self.reports() if report.reason}

    def reports(self) -> list[PluginReport]:
        """Return the reports of all plugins, in name order."""
        return [self._reports[name] for name in sorted(self._reports)]

    def require(self, names: list[str]) -> None:
        """Check that plugins are active.

        Raises:
            PluginError: One is absent, disabled or failed; the error has its name and the reason.
        """
        for name in names:
            report = self._reports.get(name)
            if report is None or report.state is not PluginState.ACTIVE:
                why = "is not installed" if report is None else f"does not work ({report.reason or report.state.value})"
                raise PluginError(f"the required plugin {name!r} {why}. Fix it or remove it from required_plugins.")

    def _descriptors(self, implementation: pluggy.HookImpl, hook: str, kind: type[T], **arguments: object) -> list[T]:
        try:
            items = list(_call(implementation, arguments) or ())
            wrong = next((item for item in items if not isinstance(item, kind)), None)
            if wrong is not None:
                raise TypeError(f"{hook} must yield {kind.__name__} descriptors, got {wrong!r}")
        except PLUGIN_ERRORS as error:  # error boundary: if a generator raises half-way, all its items are dropped
            self.record_failure(implementation.plugin_name, error)
            return []
        return items

    def _votes(self, hook: str, arguments: Mapping[str, object]) -> Iterator[tuple[str, Verdict | None]]:
        for implementation in self._implementations(hook):
            plugin = implementation.plugin_name
            try:
                verdict = _call(implementation, arguments)
                if verdict is not None and not isinstance(verdict, Verdict):
                    raise TypeError(f"{hook} must return a Verdict or None, got {verdict!r}")
            except PLUGIN_ERRORS as error:  # error boundary: a failed vote counts as DENY (I8)
                log.error("vote failed", extra={"plugin": plugin, "hook": hook} | describe(error))
                verdict = Verdict(Vote.DENY, f"the plugin {plugin} failed to vote")
            yield plugin, verdict

    def _implementations(self, hook: str) -> list[pluggy.HookImpl]:
        caller: pluggy.HookCaller = getattr(self._manager.hook, hook)
        return sorted(caller.get_hookimpls(), key=lambda implementation: implementation.plugin_name)

    def _require_unique(self, name: str, source: str) -> None:
        if name in self._reports:
            first = self._reports[name].source
            raise PluginError(f"the plugin name {name!r} is in both {first} and {source}. Uninstall or disable one.")


def _check_plugin(plugin: object, name: str) -> None:
    require_name("plugin name", name)
    if isinstance(plugin, type):
        raise TypeError("it is a class; register a module or an instance")
    for attribute in dir(plugin):
        options = getattr(getattr(plugin, attribute, None), f"{hookspecs.GROUP}_impl", None)
        if isinstance(options, dict) and (options.get("wrapper") or options.get("hookwrapper")):
            raise TypeError(f"{attribute} is a hook wrapper; hooks here are plain functions")


def _call(implementation: pluggy.HookImpl, arguments: Mapping[str, object]) -> Any:
    return implementation.function(*(arguments[name] for name in implementation.argnames))
