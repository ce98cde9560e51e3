"""The settings of an operator in nanoclaw.toml, validated when they are read.

`[core]` is `CoreSettings`; `[plugins.<name>]` has the shape that the plugin declares. An unknown key is an error that
suggests the nearest known key. A string may be `env:NAME` or `file:PATH` (relative to the instance directory), so that
secrets stay out of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from attrs import field, frozen
from nanoclaw_settings.errors import SettingsError
from nanoclaw_settings.reader import Reader
from nanoclaw_settings.rules import Rule, between, each, matches, not_empty, one_of
from nanoclaw_untrusted.private_paths import exposure_of
from nanoclaw_wire import clock
from nanoclaw_wire.config import TURN_PAUSES_S
from nanoclaw_wire.names import SETTINGS_FILE

from nanoclaw_core.budgets import Budgets

PAUSE = between(0.01, 86_400)  # a shorter one would be a busy loop, a longer one than a day is no retry
T = TypeVar("T")

DEFAULT_PROVIDER = "claude"


@frozen(kw_only=True)
class AllowedMount:
    """A directory of the host below which agents may mount directories.

    Args:
        path: An absolute path, or one with `~`.
        writable: True if mounts may be writable.
    """

    path: str = field(
        validator=Rule("must be an absolute path, or one with ~", lambda path: path.startswith(("/", "~")))
    )
    writable: bool = False


@frozen(kw_only=True)
class CoreSettings:
    """The `[core]` table.

    Args:
        owners: User ids with all rights, for example `terminal:operator`.
        provider: The provider of every session, unless the session or its agent group has its own.
        fallback_provider: Fallback if `provider` keeps its default and has no key. Empty: no fallback.
        runtime: The name of a runtime, for example `docker`. Empty: a ready one.
        network: `gateway`, `open` or `none`, unless the agent group has its own.
        timezone: An IANA name. Empty: the time zone of the machine.
        log_level: debug, info, warning or error.
        max_sandboxes: The maximum number of running sandboxes, the slots. An idle one stops for a waiting conversation.
            The conversations of a person use at most a quarter of them, or two. One of four or more is only for owners.
        idle_stop_s: Seconds after which an idle sandbox stops.
        max_life_s: Seconds after which a sandbox stops once it is idle, and 15 minutes later even during a turn.
        memory_mb: Memory limit of one sandbox in MiB, unless the agent group has its own.
        cpus: Processor limit of one sandbox, unless the agent group has its own.
        pids: Process limit of one sandbox, unless the agent group has its own.
        outgoing_file_bytes: The maximum total size of the files of one outgoing message.
        attachment_bytes: The maximum size of one incoming attachment.
        delivery_pauses_s: Seconds before the next attempt after each failed delivery attempt; the last one repeats.
        delivery_max_age_s: Seconds after a message's creation, own date or retry in which its delivery is tried.
        start_pauses_s: Seconds before the next attempt after each failed start of a sandbox; the last one repeats.
        retry_pause_s: Seconds before a message is retried after its sandbox died; doubles for each of five tries.
        turn_pauses_s: Seconds before each retry of a turn that failed for a passing reason; empty for no retry.
        disabled_plugins: Plugins that are not loaded.
        required_plugins: Plugins without which the host does not start.
        allowed_mounts: Host directories below which agents may mount directories.
        budgets: Budgets on everything that sandboxes and people in chats can make the host store.
    """

    owners: list[str] = field(factory=list, validator=each(matches("(?s)[^:]+:.+", "must be like terminal:operator")))
    provider: str = DEFAULT_PROVIDER
    fallback_provider: str = "mock"
    runtime: str = ""
    network: str = field(default="gateway", validator=one_of("gateway", "open", "none"))
    timezone: str = field(
        default="",
        validator=Rule("must be an IANA name like Europe/Berlin", lambda name: not name or clock.is_zone(name)),
    )
    log_level: str = field(default="info", validator=one_of("debug", "info", "warning", "error"))
    max_sandboxes: int = field(default=20, validator=between(1, 10_000))
    idle_stop_s: float = field(default=1800.0, validator=between(1, 31_536_000))
    max_life_s: float = field(default=43_200.0, validator=between(60, 31_536_000))
    memory_mb: int = field(default=4096, validator=between(64, 16_777_216))
    cpus: float = field(default=2.0, validator=between(0.01, 1_024))
    pids: int = field(default=1024, validator=between(16, 4_194_304))  # the largest process id of Linux
    outgoing_file_bytes: int = field(default=50_000_000, validator=between(0, 1_000_000_000))
    attachment_bytes: int = field(default=50_000_000, validator=between(0, 1_000_000_000))
    delivery_pauses_s: list[float] = field(
        factory=lambda: [2.0, 15.0, 60.0, 240.0], validator=[not_empty(), each(PAUSE)]
    )
    delivery_max_age_s: float = field(default=86_400.0, validator=between(0, 3_153_600_000))  # 100 years
    start_pauses_s: list[float] = field(
        factory=lambda: [1.0, 5.0, 15.0, 60.0, 300.0], validator=[not_empty(), each(PAUSE)]
    )
    retry_pause_s: float = field(default=5.0, validator=PAUSE)
    turn_pauses_s: list[float] = field(factory=lambda: [*TURN_PAUSES_S], validator=each(between(0, 3_600)))
    disabled_plugins: list[str] = field(factory=list)
    required_plugins: list[str] = field(factory=list)
    allowed_mounts: list[AllowedMount] = field(factory=list)
    budgets: Budgets = field(factory=Budgets)


@frozen(kw_only=True)
class Settings:
    """All settings of one instance.

    Args:
        home: The instance directory.
        plugins: The raw `[plugins.<name>]` tables; `for_plugin` applies a plugin's own shape.
    """

    home: Path
    core: CoreSettings = CoreSettings()
    plugins: Mapping[str, Mapping[str, Any]] = field(factory=dict, repr=False)  # may have secrets

    def for_plugin(self, name: str, shape: type[T] | None, environment: Mapping[str, str]) -> T | None:
        """Return a plugin's settings in its own shape; None if it declares none.

        Raises:
            NeedsSettings: A required key is missing.
            SettingsError: A key is unknown, or a value has the wrong type.
        """
        if shape is None:
            return None
        key = f"plugins.{name}"
        reader = Reader(file=self.home / SETTINGS_FILE, environment=environment, incomplete=key)
        settings: T = reader.read(self.plugins.get(name, {}), shape, key)
        return settings


def load_settings(home: Path, environment: Mapping[str, str]) -> Settings:
    """Read an instance's nanoclaw.toml; a missing file means defaults.

    Raises:
        SettingsError: The file cannot be read, is not TOML, does not have the right shape, or others may change it.
    """
    path = home / SETTINGS_FILE
    reader = Reader(file=path, environment=environment)
    try:
        require_private(home, path)
        raw = reader.load("core", "plugins")
    except FileNotFoundError:
        return Settings(home=home)
    except OSError as error:
        raise reader.unreadable(error) from error
    core = reader.read(raw.get("core", {}), CoreSettings, "core")
    plugins = raw.get("plugins", {})
    if not isinstance(plugins, dict) or not all(isinstance(table, dict) for table in plugins.values()):
        raise reader.fault("plugins: must have one table per plugin, like [plugins.terminal]")
    return Settings(home=home, core=core, plugins=plugins)


def require_private(*paths: Path) -> None:
    """Check that no other user of the machine may change a path; see `exposure_of`.

    Raises:
        SettingsError: Another user may; the error has the command that prevents it.
    """
    for exposure in filter(None, map(exposure_of, paths)):
        raise SettingsError(exposure.fault, exposure.remedy)
