"""What people wrote, what hosts delivered, and the count of everything that went wrong between the two."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence

from attrs import field, frozen

TOKEN = re.compile(r"\bm-(\d+)\b")
REFERENCE = re.compile(r"\bmsg-[0-9a-f]+")
SESSION_KEY = re.compile(r"(dlv-ses-[0-9a-f]+)-(\d+)")
SHOWN_KEYS = 8


@frozen(kw_only=True)
class WrittenMessage:
    """A message that people wrote. Its text contains its token, `m-<number>`.

    Args:
        files: The bytes of each attachment, by name.
    """

    number: int
    room: str
    thread: str | None
    text: str
    files: Mapping[str, bytes] = field(factory=dict, repr=False)

    @property
    def id(self) -> str:
        """The platform's id of the message."""
        return f"p-{self.number}"


@frozen(kw_only=True)
class DeliveredMessage:
    """One delivery that the platform took.

    Args:
        files: The SHA-256 of each file, by name.
    """

    key: str
    room: str
    thread: str | None
    text: str
    in_reply_to: str | None
    is_failure: bool
    edit_of: str | None
    reaction_to: str | None
    files: Mapping[str, str]

    @property
    def numbers(self) -> list[int]:
        """The messages that this one answers. A failure text, an edit and a reaction answer none."""
        if self.is_failure or self.edit_of or self.reaction_to:
            return []
        return list(dict.fromkeys(int(number) for number in TOKEN.findall(self.text)))


@frozen(kw_only=True)
class Tally:
    """The figures of one run. Everything in `faults` must be empty.

    Args:
        told: Messages whose people got a failure text instead of an answer.
        same_key: How often a host delivered something again under the key that it had before.
        faults: By kind, the keys or messages concerned.
    """

    written: int
    accepted: int
    answered: int
    told: Sequence[str]
    same_key: int
    faults: Mapping[str, Sequence[str]]

    def table(self) -> str:
        """Return the figures as one row of a table, and the first keys of each fault below it."""
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
    """Count a run.

    Args:
        accepted: The platform's ids of the messages that a host acknowledged.
        delivered: Every delivery in the order of its coming, also those that came again.
        references: The message that each reference of a failure text stands for.
        broken_files: Files that did not arrive whole, found elsewhere.
        keeps_token_order: True if answers must come in the order of the messages. A message that joins a running turn
            overtakes those that wait for a turn of their own, and a runner's death postpones a message.
    """
    first: dict[str, DeliveredMessage] = {}
    for message in delivered:
        first.setdefault(message.key, message)
    keys_by_number: dict[int, list[str]] = {}
    for message in first.values():
        for number in message.numbers:
            keys_by_number.setdefault(number, []).append(message.key)
    failures = [message.text for message in first.values() if message.is_failure]
    told = {references[found] for text in failures for found in REFERENCE.findall(text) if found in references}
    silent = set(written) - set(keys_by_number)
    return Tally(
        written=len(written),
        accepted=len(accepted & {message.id for message in written.values()}),
        answered=len(keys_by_number),
        told=[f"m-{number}" for number in sorted(silent & told)],
        same_key=len(delivered) - len(first),
        faults={
            "lost": [f"m-{number}" for number in sorted(silent - told)],
            "other key": [
                f"m-{number} ({' '.join(keys)})" for number, keys in sorted(keys_by_number.items()) if len(keys) > 1
            ],
            **_misdirected(first.values(), written),
            "order": [*_unordered_keys(first.values())]
            + ([*_unordered_tokens(first.values())] if keeps_token_order else []),
            "files": [*broken_files],
            "key reused": [message.key for message in delivered if message.text != first[message.key].text],
        },
    )


def _misdirected(
    delivered: Iterable[DeliveredMessage], written: Mapping[int, WrittenMessage]
) -> dict[str, Sequence[str]]:
    """Find answers that are not where people asked, or that name a message that they do not answer.

    An answer to several messages belongs to one of them; which one, the scenarios of joined turns test.
    """
    rooms, threads, replies = [], [], []
    for message in delivered:
        asked = [written[number] for number in message.numbers]
        here = [question for question in asked if question.room == message.room]
        if not asked:
            continue
        if not here:
            rooms.append(f"{message.key} in {message.room}")
        elif message.thread not in {question.thread for question in here}:
            threads.append(f"{message.key} in {message.thread}")
        if here and message.in_reply_to not in {question.id for question in here}:
            replies.append(f"{message.key} replies to {message.in_reply_to}")
    return {"wrong room": rooms, "wrong thread": threads, "wrong in_reply_to": replies}


def _unordered_keys(delivered: Iterable[DeliveredMessage]) -> Iterable[str]:
    """Yield the keys whose number in its session and room is below one that came earlier."""
    last: dict[tuple[str, str], int] = {}
    for message in delivered:
        found = SESSION_KEY.fullmatch(message.key)
        if found is not None:
            place = (found[1], message.room)
            if int(found[2]) < last.get(place, 0):
                yield message.key
            last[place] = max(last.get(place, 0), int(found[2]))


def _unordered_tokens(delivered: Iterable[DeliveredMessage]) -> Iterable[str]:
    """Yield the answers that came after the answer to a younger message of the same session and room."""
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
