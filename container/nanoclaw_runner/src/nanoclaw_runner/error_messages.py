"""What people read when a turn fails, for good or so far: plain words, and a code to find the log by (I12)."""

from __future__ import annotations

from nanoclaw_wire.events import ErrorClass

_WORDS = {
    ErrorClass.AUTHENTICATION: "I can't answer: my access to the language model was refused. "
    "The person who runs me needs to check the model key.",
    ErrorClass.QUOTA: "I can't answer right now: the usage limit of my language model is reached. "
    "Please try again later.",
    ErrorClass.OVERLOADED: "I can't answer right now: my language model is overloaded. "
    "Please try again in a few minutes.",
    ErrorClass.REFUSED: "I couldn't answer this one: my language model did not accept the request. "
    "Saying it differently may help.",
    ErrorClass.CONNECTION: "I can't answer right now: I can't reach my language model. "
    "Please try again in a few minutes.",
    ErrorClass.STALE_CONTINUATION: "I lost the thread of our conversation. Please say that once more.",
    ErrorClass.EXHAUSTED: "I can't answer right now: the computer I run on has no room to work in. "
    "The person who runs me needs to make some.",
    ErrorClass.INTERNAL: "Something went wrong on my side and I couldn't answer. Please try again.",
}


_WORDS_MEANWHILE = {
    ErrorClass.QUOTA: "The usage limit of my language model is reached right now. I keep trying for a while.",
    ErrorClass.OVERLOADED: "My language model is overloaded right now. I keep trying for a while.",
    ErrorClass.CONNECTION: "I can't reach my language model right now. I keep trying for a while.",
}
_ANY_TROUBLE = "Something went wrong on my side. I am trying again."


def words_for(kind: ErrorClass, reference: str) -> str:
    """Return the message for people.

    Args:
        reference: The correlation id of the turn.
    """
    return f"{_WORDS[kind]} (Reference: {reference})"


def words_meanwhile(kind: ErrorClass, reference: str) -> str:
    """Return what people read while a turn that fails is tried again. Its reference is that of `words_for`."""
    return f"{_WORDS_MEANWHILE.get(kind, _ANY_TROUBLE)} (Reference: {reference})"


def words_without_provider(name: str, reference: str) -> str:
    """Return what people read where the agent's provider cannot be started."""
    return (
        f"I can't answer: the model provider {name!r} I am set up with is not available here. "
        f"The person who runs me needs to install or choose one. (Reference: {reference})"
    )
