"""Dispatch: find the verb of a request, convert arguments, ask the guard, run it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from attrs import frozen
from nanoclaw_settings.values import KIND_WORDS, as_number, as_word
from nanoclaw_wire.frames import Answer, Code, Request
from nanoclaw_wire.log_lines import describe
from nanoclaw_wire.suggestions import did_you_mean

from nanoclaw_core.descriptors.administration import Parameter, Verb
from nanoclaw_core.descriptors.context import PluginContext
from nanoclaw_core.descriptors.names import flag_of
from nanoclaw_core.descriptors.votes import Caller, RequestKind
from nanoclaw_core.errors import PLUGIN_ERRORS, InvalidArguments, NanoclawError, UnknownCommand, quote
from nanoclaw_core.guard import Guard, permission_request
from nanoclaw_core.ids import ApprovalId, GroupId
from nanoclaw_core.plugins import Contribution
from nanoclaw_core.scope import Scope, apply_scope, require_within_scope, scope_arguments

log = logging.getLogger(__name__)
MAX_ERROR_CHARACTERS = 4_000  # an error may quote what it refuses
MAX_WORDS = 6  # of a verb with its resource; a longer name is never found


@frozen(kw_only=True)
class Dispatch:
    """Answers requests.

    Args:
        verbs: Verbs by their full name, `groups config get`.
        scope_of: The `cli_scope` of an agent group.
    """

    verbs: Mapping[str, Contribution[Verb]]
    guard: Guard
    scope_of: Callable[[GroupId], Scope]
    plugin_context: Callable[[str], PluginContext]

    async def answer(self, request: Request, caller: Caller) -> Answer:
        """Run a request and return its result or error; never raise."""
        work, what = self._run(request, caller), " ".join(request.words)
        return await answer_errors(request.id, work, what, is_trusted=caller.operator)

    async def execute_approved(self, name: str, arguments: Mapping[str, Any], caller: Caller, grant: ApprovalId) -> Any:
        """Execute a held request as its original caller, with a human's approval.

        Errors are raised.

        Raises:
            NanoclawError: The request failed; each error class has its own code.
        """
        if name not in self.verbs:
            raise UnknownCommand(f"the command {name!r} no longer exists")
        return await self._execute(self.verbs[name], arguments, self._scoped(caller), grant)

    def preview(self, name: str, arguments: Mapping[str, Any], caller: Caller) -> Any:
        """Return what a held request would change; raise the error with which it would fail."""
        if name not in self.verbs:
            raise UnknownCommand(f"the command {name!r} no longer exists")
        verb, caller = self.verbs[name].value, self._scoped(caller)
        require_within_scope(verb, arguments, caller)
        verb.check(arguments, caller, context := self.plugin_context(self.verbs[name].plugin))
        return verb.preview(arguments, caller, context)

    async def _run(self, request: Request, caller: Caller) -> Any:
        caller = self._scoped(caller)
        contribution, rest = self._find(request.words)
        own = scope_arguments(contribution.value, caller)
        require_within_scope(contribution.value, {**own, **request.options}, caller)  # repeated on normalised names
        arguments = typed_arguments(contribution.value, rest, request.options, own)
        return await self._execute(contribution, arguments, caller)

    def _scoped(self, caller: Caller) -> Caller:
        return apply_scope(caller, self.scope_of(caller.agent_group_id)) if caller.agent_group_id else caller

    async def _execute(
        self,
        contribution: Contribution[Verb],
        arguments: Mapping[str, Any],
        caller: Caller,
        grant: ApprovalId | None = None,
    ) -> Any:
        verb, context = contribution.value, self.plugin_context(contribution.plugin)
        require_within_scope(verb, arguments, caller)
        verb.check(arguments, caller, context)
        self.guard.check(permission_request(RequestKind.VERB, full_name(verb), verb.access, caller, arguments, grant))
        return await verb.run(arguments, caller, context)

    def _find(self, words: Sequence[str]) -> tuple[Contribution[Verb], Sequence[str]]:
        for length in range(min(len(words), MAX_WORDS), 0, -1):
            contribution = self.verbs.get(" ".join(words[:length]))
            if contribution is not None:
                return contribution, words[length:]
        asked = " ".join(words)[:200].removesuffix(" help")  # `ncl help …` appends it
        hint = did_you_mean(asked, self.verbs, "`ncl help` lists the commands.", "`{}`".format)
        raise UnknownCommand(f"there is no command {quote(asked)}. {hint}")


async def answer_errors(request_id: str, work: Awaitable[Any], what: str, *, is_trusted: bool = False) -> Answer:
    """Wait for a plugin's work, and return its result or error as an answer; `what` is for the log.

    Only the request of a trusted caller leaves a traceback, because a sandbox could cause one at will.
    """
    try:
        return Answer(id=request_id, ok=True, data=await work)
    except NanoclawError as error:
        return Answer(id=request_id, ok=False, code=_code(error), message=str(error)[:MAX_ERROR_CHARACTERS])
    except PLUGIN_ERRORS as error:  # error boundary: a verb or an action is a plugin's code
        level = logging.ERROR if is_trusted else logging.WARNING
        log.log(level, "request failed", extra={"what": what} | describe(error), exc_info=is_trusted)
        text = f"{type(error).__name__}: {error}"[:MAX_ERROR_CHARACTERS]
        return Answer(id=request_id, ok=False, code=Code.HANDLER_ERROR, message=text)


def full_name(verb: Verb) -> str:
    """Return a verb's full name, with its resource first."""
    return f"{verb.resource} {verb.name}".strip()


def typed_arguments(
    verb: Verb, rest: Sequence[str], options: Mapping[str, Any], filled: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Convert words and options to a verb's arguments.

    `filled` has the values of parameters that are not given.

    Raises:
        InvalidArguments: An option is unknown or given twice, there are too many words, a required argument is missing,
            or a value has the wrong type.
    """
    by_name = {parameter.name: parameter for parameter in verb.parameters}
    given: dict[str, Any] = {}
    for key, value in options.items():
        name = key.replace("-", "_")
        if name not in by_name:
            known = f"Known options: {', '.join(map(flag_of, by_name)) or 'none'}."
            hint = did_you_mean(name, by_name, known, flag_of)
            raise InvalidArguments(f"{full_name(verb)}: unknown option --{key}. {hint}")
        if name in given:
            raise InvalidArguments(f"{full_name(verb)}: --{key} is given in two spellings")
        given[name] = value
    positional = [parameter for parameter in verb.parameters if parameter.is_positional and parameter.name not in given]
    if len(rest) > len(positional):
        raise InvalidArguments(f"{full_name(verb)}: unexpected argument {quote(rest[len(positional)])}")
    given |= {parameter.name: word for parameter, word in zip(positional, rest, strict=False)}
    given = {**(filled or {}), **given}
    for parameter in verb.parameters:
        if parameter.is_required and given.get(parameter.name) is None:
            raise InvalidArguments(f"{full_name(verb)} needs {flag_of(parameter.name)}: {parameter.help}")
    return {name: _typed(verb, by_name[name], value) for name, value in given.items()}


def _typed(verb: Verb, parameter: Parameter, value: Any) -> Any:
    if value is None:
        return None
    if parameter.kind is list:
        return value if isinstance(value, list) else [value]
    typed = as_number(parameter.kind, value) if parameter.kind in (int, float) else as_word(parameter.kind, value)
    if typed is not None:
        return typed
    given = "several values" if isinstance(value, list) else quote(value) if value is not True else "no value"
    rule = f"{flag_of(parameter.name)} must be {KIND_WORDS[parameter.kind]}"
    raise InvalidArguments(f"{full_name(verb)}: {rule}, got {given}")


def _code(error: NanoclawError) -> Code:
    # A plugin's own error class may have a code that clients do not know.
    return {code.value: code for code in Code}.get(error.code, Code.HANDLER_ERROR)
