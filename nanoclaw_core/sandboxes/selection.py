"""Selection of provider and runtime: pure decisions with reasons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen

from nanoclaw_core.descriptors.providers import Provider, Upstream
from nanoclaw_core.descriptors.sandboxes import Readiness
from nanoclaw_core.errors import SandboxRefused


@frozen(kw_only=True)
class Candidate:
    """A runtime that can be chosen."""

    name: str
    preference: int
    readiness: Readiness


@frozen(kw_only=True)
class ChosenProvider:
    """The chosen provider.

    Args:
        instead_of: The unusable default provider that this one replaces; empty if it replaces none.
    """

    name: str
    instead_of: str = ""


def choose_provider(
    *,
    session: str | None,
    group: str | None,
    default: str,
    fallback: str,
    installed: Mapping[str, Provider],
    missing: Mapping[str, str],
) -> ChosenProvider:
    """Choose a provider: the session's, else the agent group's, else the settings' (⚠32).

    The fallback only replaces the default of the settings, never an explicit choice of a session or a group.

    `missing` has the reason for each unusable provider, installed or not.

    Raises:
        SandboxRefused: The chosen provider is not installed.
    """
    chosen = (session or group or "").strip().lower()
    name = chosen or default
    if not chosen and (name not in installed or name in missing) and fallback in installed:
        return ChosenProvider(name=fallback, instead_of=name)
    if name not in installed and name not in missing:
        known = ", ".join(sorted(installed)) or "none"
        raise SandboxRefused(
            f"The provider {name!r} is not installed (installed: {known}). Check the spelling, or choose another one."
        )
    return ChosenProvider(name=name)


def missing_reason(upstreams: Sequence[Upstream]) -> str:
    """Return why no upstream is usable; an empty text if one is or none is needed."""
    reasons = [upstream.missing for upstream in upstreams]
    return "; ".join(reason for reason in reasons if reason) if upstreams and all(reasons) else ""


def choose_runtime(*, wanted: str, runs_tools: bool, candidates: Sequence[Candidate]) -> str:
    """Choose the configured runtime, else a suitable ready one.

    A provider with tools needs a runtime that isolates. `wanted` is the runtime of the group or the settings; it is
    empty if none is configured.

    Raises:
        SandboxRefused: No runtime fits; the error has the remedy of each candidate.
    """
    if wanted:
        named = next((candidate for candidate in candidates if candidate.name == wanted), None)
        if named is None:
            known = ", ".join(candidate.name for candidate in candidates) or "none"
            raise SandboxRefused(f"The runtime {wanted!r} is not installed (installed: {known}).")
        if not named.readiness.ready:
            raise SandboxRefused(f"The runtime {wanted!r} cannot be used: {_described(named.readiness)}")
        return wanted
    fit = [c for c in candidates if c.readiness.ready and (not runs_tools or _may_run_tools(c.readiness))]
    if fit:
        # Tools need the strongest isolation. A provider without tools needs the fastest start.
        return (max if runs_tools else min)(fit, key=lambda candidate: candidate.preference).name
    if not candidates:
        raise SandboxRefused(
            "No sandbox runtime is installed. Install one with `pip install nanoclaw-runtime-docker` "
            "or `pip install nanoclaw-runtime-process`."
        )
    reasons = " · ".join(f"{c.name}: {_described(c.readiness)}" for c in candidates)
    raise SandboxRefused(f"No sandbox can be made for this agent. {reasons}")


def _may_run_tools(readiness: Readiness) -> bool:
    return readiness.isolates or readiness.takes_tools_unisolated


def _described(readiness: Readiness) -> str:
    return f"{readiness.detail}. {readiness.remedy}".strip() if readiness.remedy else readiness.detail
