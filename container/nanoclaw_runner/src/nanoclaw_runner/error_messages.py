"""Texts for people when a turn fails or is retried: plain words, and a reference to find the log entry (I12)."""

from __future__ import annotations

from nanoclaw_wire.events import ErrorClass

_FAILURE_TEXTS = {
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


_RETRY_TEXTS = {
    ErrorClass.QUOTA: "The usage limit of my language model is reached right now. I keep trying for a while.",
    ErrorClass.OVERLOADED: "My language model is overloaded right now. I keep trying for a while.",
    ErrorClass.CONNECTION: "I can't reach my language model right now. I keep trying for a while.",
}
_RETRY_TEXT = "Something went wrong on my side. I am trying again."


def failure_text(kind: ErrorClass, reference: str) -> str:
    """Return the text for a turn that failed for good.

    Args:
        kind: The class of the provider's error.
        reference: The correlation id of the turn.
    """
    return f"{_FAILURE_TEXTS[kind]} (Reference: {reference})"


def retry_text(kind: ErrorClass, reference: str) -> str:
    """Return the text for a turn that failed and is retried; `failure_text` explains the arguments."""
    return f"{_RETRY_TEXTS.get(kind, _RETRY_TEXT)} (Reference: {reference})"


def no_provider_text(name: str, reference: str) -> str:
    """Return the text for a provider that cannot start."""
    return (
        f"I can't answer: the model provider {name!r} I am set up with is not available here. "
        f"The person who runs me needs to install or choose one. (Reference: {reference})"
    )
