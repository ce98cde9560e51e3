"""Making an instance for a test: settings without a file, an agent group and a wired room."""

from __future__ import annotations

from pathlib import Path

import apsw
from attrs import define, evolve

from nanoclaw_core.instance import InstancePaths, create_agent_group, open_database
from nanoclaw_core.mailbox.quarantine import QUARANTINE_SUFFIX
from nanoclaw_core.settings import CoreSettings, Settings
from nanoclaw_core.store import agents, messaging
from nanoclaw_core.store.agents import AgentGroup
from nanoclaw_core.store.connection import rows
from nanoclaw_core.store.messaging import EngageMode, MessagingGroup, Wiring
from nanoclaw_core.store.sessions import Session


@define(kw_only=True, eq=False)
class Instance:
    """An instance directory with its database open for the test's own looks."""

    settings: Settings
    places: InstancePaths
    db: apsw.Connection

    def configure(self, plugin: str, **table: object) -> None:
        """Set what would stand under [plugins.<name>] in nanoclaw.toml, for the next host."""
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
        """Wire a room to an agent group, making either where it is missing; engages for everything unless told."""
        found = messaging.find(self.db, channel, room)
        found = found or messaging.add(self.db, MessagingGroup(channel=channel, room=room, is_group=is_group))
        defaults: dict[str, object] = {"engage_mode": EngageMode.PATTERN, "engage_pattern": "."}
        if "engage_mode" in wiring:
            defaults = {}
        made = Wiring(
            messaging_group_id=found.id,
            agent_group_id=self.group(folder).id,
            **(defaults | wiring),  # type: ignore[arg-type]
        )
        messaging.wire(self.db, made)
        return made

    def group(self, folder: str = "agent") -> AgentGroup:
        """Return an agent group, made where it is missing."""
        found = agents.by_folder(self.db, folder)
        return found or create_agent_group(self.db, self.places, name=folder.title(), folder=folder)

    def groups(self) -> list[AgentGroup]:
        """Return all agent groups, oldest first."""
        return rows(self.db, AgentGroup, "agent_groups ORDER BY created_at, id")

    def sessions(self) -> list[Session]:
        """Return all active sessions, oldest first."""
        return rows(self.db, Session, "sessions WHERE status = 'active' ORDER BY created_at, id")

    def room(self, room: str = "room", channel: str = "recorder") -> MessagingGroup:
        """Return a messaging group that must exist."""
        found = messaging.find(self.db, channel, room)
        assert found is not None, f"no messaging group for {channel} {room}"
        return found


def make_instance(home: Path, **core: object) -> Instance:
    """Make an instance directory with an empty, migrated database.

    Args:
        core: Fields of CoreSettings; nothing waits before it is tried again, where this does not say otherwise.
    """
    defaults: dict[str, object] = {
        "provider": "scripted",
        "fallback_provider": "",
        "delivery_pauses_s": [0.0, 0.0],
        "delivery_max_age_s": 0.0,  # so three attempts are made
        "start_pauses_s": [0.0],
        "retry_pause_s": 0.0,
    }
    settings = Settings(home=home, core=CoreSettings(**(defaults | core)))  # type: ignore[arg-type]
    places = InstancePaths(home=home)
    places.make()
    return Instance(settings=settings, places=places, db=open_database(places))


def set_aside_before(root: Path) -> list[str]:
    """Return the names of the sessions that were set aside below `sessions/`, oldest first."""
    found = [path for path in root.glob(f"*{QUARANTINE_SUFFIX}*") if path.is_dir()] if root.is_dir() else []
    return sorted((path.name for path in found), key=lambda name: name.rpartition(QUARANTINE_SUFFIX)[2])
