"""A client that starts and kills the external platform, sends it orders and reads its journal."""

import asyncio
import base64
import contextlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import define, field
from external_platform import LINE_LIMIT, Mode
from journal import DeliveredMessage, WrittenMessage, digest


@define(eq=False)
class PlatformClient:
    """A platform. It keeps the state here, so that a killed platform restarts with its open messages.

    Args:
        path: The platform's socket.
        agents: The folders of the agents that are wired to each room, by room.
        agent_of: Returns the agent that wrote the delivery with a key, or None if the key names no session.
        written: Every message that people wrote, by number.
        accepted: The platform's ids of the messages that a host acknowledged.
        delivered: Every delivery in order. A key repeats if the host got no answer.
        attempts: The number of attempts of each delivery, by key.
        connections: The number of connections of hosts.
        on_event: Called with the name of each entry of the journal: `offer`, `accept`, `attempt`, `deliver`, `taken`.
        changed: Set with each entry.
    """

    path: Path
    agents: Mapping[str, Sequence[str]]
    agent_of: Callable[[str], str | None]
    written: dict[int, WrittenMessage] = field(factory=dict)
    accepted: set[str] = field(factory=set)
    delivered: list[DeliveredMessage] = field(factory=list)
    attempts: Counter[str] = field(factory=Counter)
    connections: int = 0
    mode: Mode = Mode.WORKS
    on_event: Callable[[str], None] = lambda _event: None
    changed: asyncio.Event = field(factory=asyncio.Event)
    _answers: dict[int, dict[str, DeliveredMessage]] = field(factory=dict)
    _process: asyncio.subprocess.Process | None = None
    _reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the platform's process and offer each unacknowledged message."""
        program = Path(__file__).with_name("external_platform.py")
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-S",
            str(program),
            str(self.path),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_LIMIT,
        )
        assert self._process.stdout is not None
        assert json.loads(await self._process.stdout.readline()) == {"event": "ready"}
        self._reading = asyncio.create_task(self._read(self._process.stdout))
        self.set_mode(self.mode)
        for message in self.written.values():
            if message.id not in self.accepted:
                self._order_write(message)

    async def kill(self) -> None:
        """Kill the platform's process and read its journal to the end."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._end()

    async def close(self) -> None:
        """Stop the platform's process."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._end()

    def write(
        self,
        room: str,
        text: str = "",
        *,
        thread: str | None = None,
        agents: Sequence[str] = (),
        files: Mapping[str, bytes] | None = None,
    ) -> WrittenMessage:
        """Write a message as a person. Its text begins with its token.

        Args:
            room: The room to write in.
            text: The text after the token and the names.
            thread: The thread in the room, or None for the room itself.
            agents: The agents to address. Empty: all agents of the room. If the room has several, the text names them.
            files: The bytes of each attachment, by name.
        """
        number, all_agents = len(self.written) + 1, self.agents[room]
        agents = agents or all_agents
        names = [mention(agent) for agent in agents] if len(all_agents) > 1 else []
        text = " ".join([f"m-{number}", *names, text]).strip()
        message = WrittenMessage(number=number, room=room, thread=thread, text=text, agents=agents, files=files or {})
        self.written[number] = message
        self._order_write(message)
        return message

    def set_mode(self, mode: Mode, *, attempts: int | None = None) -> None:
        """Set the platform's behaviour for deliveries.

        Args:
            mode: The behaviour.
            attempts: The number of deliveries until the platform works again, or None to wait for the next call.
        """
        self.mode = mode
        self._order({"mode": mode.value, "attempts": attempts})

    def cut(self) -> None:
        """Close all connections of hosts."""
        self._order({"cut": True})

    def answers(self, message: WrittenMessage) -> list[DeliveredMessage]:
        """Return the answers to a message in order, each key once."""
        return list(self._answers.get(message.number, {}).values())

    def is_answered(self, *messages: WrittenMessage) -> bool:
        """Return True if every addressed agent has answered each message."""
        return all({*message.agents} <= {answer.agent for answer in self.answers(message)} for message in messages)

    def _order_write(self, message: WrittenMessage) -> None:
        files = [{"name": name, "content": base64.b64encode(data).decode()} for name, data in message.files.items()]
        values = {"room": message.room, "thread": message.thread, "text": message.text, "files": files}
        self._order({"write": message.id, **values})

    def _order(self, order: dict[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")

    async def _read(self, journal: asyncio.StreamReader) -> None:
        while line := await journal.readline():
            if line.endswith(b"\n"):  # a killed platform may leave half a line
                self._note(json.loads(line))

    def _note(self, entry: dict[str, Any]) -> None:
        match entry["event"]:
            case "connected":
                self.connections += 1
            case "accept":
                assert entry["outcome"] == "routed", entry
                self.accepted.add(entry["id"])
            case "attempt":
                self.attempts[entry["key"]] += 1
            case "deliver":
                delivered = _delivered(entry, self.agent_of(entry["deliver"]))
                self.delivered.append(delivered)
                for number in delivered.numbers:
                    self._answers.setdefault(number, {}).setdefault(delivered.key, delivered)
        self.on_event(entry["event"])
        self.changed.set()

    async def _end(self) -> None:
        assert self._process is not None
        assert self._reading is not None
        await self._process.wait()
        await self._reading


def mention(agent: str) -> str:
    """Return the text that addresses an agent in a room of several."""
    return f"@{agent}"


def _delivered(entry: Mapping[str, Any], agent: str | None) -> DeliveredMessage:
    files = {file["name"]: digest(base64.b64decode(file["content"])) for file in entry["files"]}
    names = ("room", "thread", "text", "in_reply_to", "is_failure", "edit_of", "reaction_to")
    return DeliveredMessage(key=entry["deliver"], agent=agent, files=files, **{name: entry[name] for name in names})
