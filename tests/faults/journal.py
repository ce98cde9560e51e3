"""Counts the faults between the messages that people wrote and the deliveries of hosts."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from attrs import field, frozen

TOKEN = re.compile(r"\bm-(\d+)\b")
REFERENCE = re.compile(r"\bmsg-[0-9a-f]+")
SESSION = re.compile(r"\bses-[0-9a-f]+")
SESSION_KEY = re.compile(r"(dlv-ses-[0-9a-f]+)-(\d+)")
SHOWN_KEYS = 8


@frozen(kw_only=True)
class WrittenMessage:
    """A message that people wrote. Its text contains its token, `m-<number>`.

    Args:
        agents: The folders of the addressed agents. Each of them must answer, and no other agent may.
        files: The bytes of each attachment, by name.
    """

    number: int
    room: str
    thread: str | None
    text: str
    agents: Sequence[str]
    files: Mapping[str, bytes] = field(factory=dict, repr=False)

    @property
    def id(self) -> str:
        """The platform's id of the message."""
        return f"p-{self.number}"

    def asked_of(self, agent: str) -> str:
        """Return the token of the message, with the agent if it addresses several."""
        return f"m-{self.number}" + (f" by {agent}" if len(self.agents) > 1 else "")


@frozen(kw_only=True)
class DeliveredMessage:
    """A delivery that the platform accepted.

    Args:
        agent: The folder of the agent that wrote it, or None if the key names no session.
        files: The SHA-256 of each file, by name.
    """

    key: str
    room: str
    thread: str | None
    agent: str | None
    text: str
    in_reply_to: str | None
    is_failure: bool
    edit_of: str | None
    reaction_to: str | None
    files: Mapping[str, str]

    @property
    def numbers(self) -> list[int]:
        """The numbers of the answered messages.

        A failure text, an edit and a reaction answer none.
        """
        if self.is_failure or self.edit_of or self.reaction_to:
            return []
        return list(dict.fromkeys(int(number) for number in TOKEN.findall(self.text)))


@frozen(kw_only=True)
class Tally:
    """The figures of one run. Everything in `faults` must be empty.

    Args:
        answered: The number of messages that every addressed agent answered.
        told: The messages that got a failure text instead of an answer.
        same_key: The number of repeated deliveries under an earlier key.
        faults: The affected keys or messages, by kind.
    """

    written: int
    accepted: int
    answered: int
    told: Sequence[str]
    same_key: int
    faults: Mapping[str, Sequence[str]]

    def table(self) -> str:
        """Format the figures as one row of a table, with the first keys of each fault below it."""
        figures = {
            "offered": self.written,
            "acked": self.accepted,
            "answered": self.answered,
            "told": len(self.told),
            "same key": self.same_key,
            **{kind: len(concerned) for kind, concerned in self.faults.items()},
        }
        lines = ["| " + " | ".join(figures) + " |", "| " + " | ".join(map(str, figures.values())) + " |"]
        for kind, concerned in self.faults.items():
            more = ", …" if len(concerned) > SHOWN_KEYS else ""
            lines += [f"  {kind}: {', '.join(concerned[:SHOWN_KEYS])}{more}"] if concerned else []
        return "\n".join(lines)


def tally(
    written: Mapping[int, WrittenMessage],
    accepted: set[str],
    delivered: Sequence[DeliveredMessage],
    references: Mapping[str, int],
    *,
    broken_files: Sequence[str] = (),
    keeps_token_order: bool = False,
) -> Tally:
    """Count the figures of a run.

    Args:
        written: The messages that people wrote, by number.
        accepted: The platform's ids of the messages that a host acknowledged.
        delivered: Every delivery in order, repeated ones included.
        references: The message number of each reference in a failure text.
        broken_files: The files that did not arrive whole.
        keeps_token_order: True if answers must keep the order of the messages. They may not with tools or killed
            runners: a message that joins a running turn overtakes others, and a runner's death postpones a message.
    """
    first: dict[str, DeliveredMessage] = {}
    for message in delivered:
        first.setdefault(message.key, message)
    keys: dict[tuple[int, str | None], list[str]] = {}
    for message in first.values():
        for number in message.numbers:
            keys.setdefault((number, message.agent), []).append(message.key)
    silent = [
        (n, agent) for n, message in sorted(written.items()) for agent in message.agents if (n, agent) not in keys
    ]
    told = set(_told(first.values(), references))
    lost = [(n, agent) for n, agent in silent if not {(n, agent), (n, None)} & told]
    return Tally(
        written=len(written),
        accepted=len(accepted & {message.id for message in written.values()}),
        answered=len(written) - len({n for n, _ in silent}),
        told=[written[n].asked_of(agent) for n, agent in silent if (n, agent) not in lost],
        same_key=len(delivered) - len(first),
        faults={
            "lost": [written[n].asked_of(agent) for n, agent in lost],
            "other key": [f"m-{n} ({' '.join(answers)})" for (n, _), answers in keys.items() if len(answers) > 1],
            **_misdirected(first.values(), written),
            "order": [*_unordered_keys(first.values())]
            + ([*_unordered_tokens(first.values())] if keeps_token_order else []),
            "files": [*broken_files],
            "key reused": [message.key for message in delivered if message.text != first[message.key].text],
        },
    )


def session_of(key: str) -> str | None:
    """Return the session that a key names, or None."""
    match = SESSION.search(key)
    return match and match[0]


def _told(delivered: Iterable[DeliveredMessage], references: Mapping[str, int]) -> Iterator[tuple[int, str | None]]:
    """Yield the message and the agent of each failure text.

    The agent is None if the key names no session.
    """
    for message in delivered:
        cited = REFERENCE.findall(message.text) if message.is_failure else []
        yield from ((references[reference], message.agent) for reference in cited if reference in references)


def _misdirected(
    delivered: Iterable[DeliveredMessage], written: Mapping[int, WrittenMessage]
) -> dict[str, Sequence[str]]:
    """Find answers of an agent that was not asked, in a wrong place, or with a wrong `in_reply_to`.

    An answer to several messages belongs to one of them; `test_joined_turn.py` tests the choice.
    """
    agents, rooms, threads, replies = [], [], [], []
    for message in delivered:
        asked = [written[number] for number in message.numbers]
        here = [question for question in asked if question.room == message.room]
        if not asked:
            continue
        if any(message.agent not in question.agents for question in asked):
            agents.append(f"{message.key} of {message.agent}")
        if not here:
            rooms.append(f"{message.key} in {message.room}")
        elif message.thread not in {question.thread for question in here}:
            threads.append(f"{message.key} in {message.thread}")
        if here and message.in_reply_to not in {question.id for question in here}:
            replies.append(f"{message.key} replies to {message.in_reply_to}")
    return {"wrong agent": agents, "wrong room": rooms, "wrong thread": threads, "wrong in_reply_to": replies}


def _unordered_keys(delivered: Iterable[DeliveredMessage]) -> Iterable[str]:
    """Yield the keys with a lower number than an earlier key of the same session and room."""
    last: dict[tuple[str, str], int] = {}
    for message in delivered:
        match = SESSION_KEY.fullmatch(message.key)
        if match is not None:
            place = (match[1], message.room)
            if int(match[2]) < last.get(place, 0):
                yield message.key
            last[place] = max(last.get(place, 0), int(match[2]))


def _unordered_tokens(delivered: Iterable[DeliveredMessage]) -> Iterable[str]:
    """Yield the answers that follow the answer to a later message of the same session and room."""
    last: dict[tuple[str, str], int] = {}
    for message in delivered:
        if message.numbers:
            place = (message.key.rpartition("-")[0], message.room)
            if min(message.numbers) <= last.get(place, 0):
                yield f"{message.key} (m-{min(message.numbers)} after m-{last[place]})"
            last[place] = max([last.get(place, 0), *message.numbers])


def digest(content: bytes) -> str:
    """Return the SHA-256 of a file's content."""
    return hashlib.sha256(content).hexdigest()
