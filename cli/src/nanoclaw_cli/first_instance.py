"""Making a first instance that works; it reaches beneath the core's public surface, because no host runs yet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import apsw
from attrs import evolve

from nanoclaw_core.instance import Places, create_agent_group, open_database
from nanoclaw_core.settings import FILE_NAME, load_settings
from nanoclaw_core.store import agents, messaging
from nanoclaw_core.store.messaging import EngageMode, MessagingGroup, Wiring

OPERATOR = "terminal:operator"
TERMINAL_ROOM = ("terminal", "local")
FIRST_GROUP = "main"
_SETTINGS = """\
# Settings of this nanoclaw instance. `ncl doctor` checks them; docs/operations.md lists all of them.

[core]
owners = ["terminal:operator"]    # who may do everything: <channel>:<the platform's user id>
"""


def is_instance(home: Path) -> bool:
    """Say whether a directory is an instance: whether it has settings and a database."""
    return (home / FILE_NAME).exists() and Places(home=home).database.exists()


def initialise(home: Path, *, environment: Mapping[str, str], room: tuple[str, str] = TERMINAL_ROOM) -> list[str]:
    """Make an instance whose first agent answers in one room; what is there already stays.

    Args:
        room: Channel and room, the terminal's unless an application brings a channel of its own.

    Returns:
        What was made, in words; empty where everything was there.

    Raises:
        NanoclawError: A directory cannot be made, or a settings file that is there is broken.
    """
    places = Places(home=home)
    places.make()
    created = []
    settings_file = home / FILE_NAME
    if not settings_file.exists():
        settings_file.write_text(_SETTINGS, encoding="utf-8")
        settings_file.chmod(0o600)
        created.append(f"settings {settings_file}")
    load_settings(home, environment)
    db = open_database(places)
    try:
        created += _first_agent(db, places, room)
    finally:
        db.close()
    return created


def _first_agent(db: apsw.Connection, places: Places, room: tuple[str, str]) -> list[str]:
    created = []
    with db:
        group = agents.by_folder(db, FIRST_GROUP)
        if group is None:
            group = create_agent_group(db, places, name="Nano", folder=FIRST_GROUP)
            agents.save_config(db, evolve(agents.config_of(db, group.id), cli_scope="global"))
            created.append(f"agent group {FIRST_GROUP}")
        channel, name = room
        found = messaging.find(db, *room)
        found = found or messaging.add(db, MessagingGroup(channel=channel, room=name, name=channel))
        if not messaging.wirings_of(db, found.id):
            wiring = Wiring(
                messaging_group_id=found.id, agent_group_id=group.id, engage_mode=EngageMode.PATTERN, engage_pattern="."
            )
            messaging.wire(db, wiring)
            created.append(f"wiring of the {channel}")
    return created
