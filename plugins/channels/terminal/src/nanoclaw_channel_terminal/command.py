"""`ncl chat`. `ncl help` imports this module for one line, so the functions import their dependencies."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from nanoclaw_cli.invocation import Invocation
from nanoclaw_client.errors import TransportError

from nanoclaw_core import InvalidArguments

if TYPE_CHECKING:
    from nanoclaw_channel_terminal.one_shot import Question
    from nanoclaw_channel_terminal.received import ReceivedFiles

STANDARD_INPUT = "-"


@click.command(short_help="Talk to the assistant.")
@click.argument("words", nargs=-1)
@click.option(
    "--timeout",
    "timeout_s",
    default=300.0,
    show_default=True,
    type=click.FloatRange(min=0, min_open=True),
    help="Maximum time for an answer, in seconds.",
)
@click.option(
    "--save-to",
    type=click.Path(path_type=Path, file_okay=False, exists=True, writable=True),
    help="Save files from the agent in this directory, which must exist and be writable. By default they are saved in"
    " received/<session>/ in the instance directory. No file is overwritten.",
)
@click.pass_obj
def chat(invocation: Invocation, words: tuple[str, ...], timeout_s: float, save_to: Path | None) -> int:
    """Talk to the assistant: send WORDS or piped input once, or start a conversation without both.

    A word @PATH attaches a file; @@ is a plain @. A word - stands for the piped input.
    """
    import asyncio

    from nanoclaw_channel_terminal.received import ReceivedFiles

    received = ReceivedFiles(home=invocation.home, save_to=save_to.absolute() if save_to else None)
    if not words and sys.stdin.isatty():
        return asyncio.run(_converse(invocation, received))
    question = _question(words, timeout_s, received, invocation.as_json)
    return asyncio.run(_ask(invocation, question))


def _question(words: tuple[str, ...], timeout_s: float, received: ReceivedFiles, as_json: bool) -> Question:
    from nanoclaw_channel_terminal.attachments import extract_files, join_words
    from nanoclaw_channel_terminal.one_shot import Question

    text, files = extract_files(join_words([word for word in words if word != STANDARD_INPUT], Path.cwd()), Path.cwd())
    if not words or STANDARD_INPUT in words:  # only then, because a shell loop may need its standard input
        piped = sys.stdin.buffer.read().decode("utf-8", "replace").rstrip("\n")
        text = "\n\n".join(part for part in (text, piped) if part)
    if not text.strip() and not files:
        raise InvalidArguments("the message is empty. Write `ncl chat WORDS`, or pipe text in.")
    return Question(text=text, files=files, timeout_s=timeout_s, received=received, as_json=as_json)


async def _ask(invocation: Invocation, question: Question) -> int:
    from nanoclaw_channel_terminal.connect import attached
    from nanoclaw_channel_terminal.connection import HungUp
    from nanoclaw_channel_terminal.display import StatusLine
    from nanoclaw_channel_terminal.one_shot import OneShotChat

    status = StatusLine()
    try:
        async with attached(invocation, status) as connection:
            return await OneShotChat(connection, question, status).run()
    except HungUp as error:
        raise TransportError("the host stopped before it answered. `ncl logs` shows why.") from error
    finally:
        status.show("")


async def _converse(invocation: Invocation, received: ReceivedFiles) -> int:
    from nanoclaw_channel_terminal.connect import attached
    from nanoclaw_channel_terminal.display import StatusLine
    from nanoclaw_channel_terminal.repl import Repl

    status = StatusLine()
    async with attached(invocation, status) as connection:
        status.show("")
        history = invocation.home / "data" / "terminal" / "history"
        return await Repl(connection, history, received).run()
