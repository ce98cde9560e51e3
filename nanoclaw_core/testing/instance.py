"""Creates an instance for a test: settings without a file, an agent group and a wired room."""

from __future__ import annotations

from pathlib import Path

import apsw
from attrs import define, evolve

from nanoclaw_core.budgets import Budgets
from nanoclaw_core.instance import InstancePaths, create_agent_group, open_database
from nanoclaw_core.mailbox.directories import QUARANTINE_SUFFIX
from nanoclaw_core.settings import CoreSettings, Settings
from nanoclaw_core.store import agents, messaging
from nanoclaw_core.store.agents import AgentGroup
from nanoclaw_core.store.connection import rows
from nanoclaw_core.store.messaging import EngageMode, MessagingGroup, Wiring
from nanoclaw_core.store.sessions import Session


@define(kw_only=True, eq=False)
class Instance:
    """An instance directory, with an open connection to its database for the test."""

    settings: Settings
    paths: InstancePaths
    db: apsw.Connection

    def configure(self, plugin: str, **table: object) -> None:
        """Set the table [plugins.<name>] of nanoclaw.toml for the next host."""
        self.settings = evolve(self.settings, plugins={**self.settings.plugins, plugin: table})

    def wire(
        self,
        *,
        room: str = "room",
        channel: str = "recorder",
        folder: str = "agent",
        is_group: bool = False,
        **wiring: object,
    ) -> Wiring:
        """Wire a room to an agent group, and create both if they are missing.

        The wiring engages for every message unless `wiring` has an `engage_mode`.
        """
        messaging_group = messaging.find(self.db, channel, room)
        messaging_group = messaging_group or messaging.add(
            self.db, MessagingGroup(channel=channel, room=room, is_group=is_group)
        )
        defaults: dict[str, object] = {"engage_mode": EngageMode.PATTERN, "engage_pattern": "."}
        if "engage_mode" in wiring:
            defaults = {}
        new_wiring = Wiring(
            messaging_group_id=messaging_group.id,
            agent_group_id=self.group(folder).id,
            **(defaults | wiring),  # type: ignore[arg-type]
        )
        messaging.wire(self.db, new_wiring)
        return new_wiring

    def group(self, folder: str = "agent") -> AgentGroup:
        """Return an agent group, and create it if it is missing."""
        agent_group = agents.by_folder(self.db, folder)
        return agent_group or create_agent_group(self.db, self.paths, name=folder.title(), folder=folder)

    def groups(self) -> list[AgentGroup]:
        """Return all agent groups, oldest first."""
        return rows(self.db, AgentGroup, "agent_groups ORDER BY created_at, id")

    def sessions(self) -> list[Session]:
        """Return all active sessions, oldest first."""
        return rows(self.db, Session, "sessions WHERE status = 'active' ORDER BY created_at, id")

    def room(self, room: str = "room", channel: str = "recorder") -> MessagingGroup:
        """Return a messaging group that must exist."""
        messaging_group = messaging.find(self.db, channel, room)
        assert messaging_group is not None, f"no messaging group for {channel} {room}"
        return messaging_group


def make_instance(home: Path, **core: object) -> Instance:
    """Create an instance directory with an empty, migrated database.

    Args:
        home: The instance directory.
        core: Fields of CoreSettings. By default, a retry waits for 10 ms, the shortest pause, and a person may write a
            million messages a minute.
    """
    defaults: dict[str, object] = {
        "provider": "scripted",
        "fallback_provider": "",
        "delivery_pauses_s": [0.01, 0.01],
        "delivery_max_age_s": 0.0,  # allows three attempts
        "start_pauses_s": [0.01],
        "retry_pause_s": 0.01,
        "budgets": Budgets(person_messages_per_minute=1_000_000, person_waiting_messages=1_000_000),
    }
    settings = Settings(home=home, core=CoreSettings(**(defaults | core)))  # type: ignore[arg-type]
    paths = InstancePaths(home=home)
    paths.make()
    return Instance(settings=settings, paths=paths, db=open_database(paths))


def quarantined_sessions(root: Path) -> list[str]:
    """Return the names of the quarantined sessions below `sessions/`, oldest first."""
    quarantined = [path for path in root.glob(f"*{QUARANTINE_SUFFIX}*") if path.is_dir()] if root.is_dir() else []
    return sorted((path.name for path in quarantined), key=lambda name: name.rpartition(QUARANTINE_SUFFIX)[2])
