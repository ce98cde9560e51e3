"""Selection of the provider and of the runtime (⚠32)."""

import pytest

from nanoclaw_core import Provider, Readiness, SandboxRefused, Upstream
from nanoclaw_core.sandboxes.selection import Candidate, ChosenProvider, choose_provider, choose_runtime, missing_reason

INSTALLED = {name: Provider(name=name, runs_tools=name != "mock") for name in ("claude", "mock", "opencode")}


def provider(session: str | None = None, group: str | None = None, **more: object) -> ChosenProvider:
    values = {"default": "claude", "fallback": "mock", "installed": INSTALLED, "missing": {}} | more
    return choose_provider(session=session, group=group, **values)  # type: ignore[arg-type]


@pytest.mark.defect(number=32)
@pytest.mark.parametrize(
    ("session", "group", "chosen"),
    [
        ("opencode", "mock", "opencode"),
        (None, "mock", "mock"),
        ("", "mock", "mock"),
        (None, None, "claude"),
        (None, " OpenCode ", "opencode"),
    ],
)
def test_provider_of_session_precedes_group_and_settings(session: str | None, group: str | None, chosen: str) -> None:
    assert provider(session, group) == ChosenProvider(name=chosen)


def test_fallback_replaces_an_unusable_default() -> None:
    assert provider(missing={"claude": "no key"}) == ChosenProvider(name="mock", instead_of="claude")
    without = {name: provided for name, provided in INSTALLED.items() if name != "claude"}
    assert provider(installed=without) == ChosenProvider(name="mock", instead_of="claude")


@pytest.mark.parametrize(("session", "group"), [("claude", None), (None, "claude")])
def test_explicit_provider_is_never_replaced(session: str | None, group: str | None) -> None:
    assert provider(session, group, missing={"claude": "no key"}) == ChosenProvider(name="claude")


def test_default_without_a_fallback_stays() -> None:
    assert provider(fallback="", missing={"claude": "no key"}) == ChosenProvider(name="claude")


def test_missing_provider_is_refused_with_the_remedy() -> None:
    with pytest.raises(SandboxRefused, match=r"'codex' is not installed .*Check the spelling"):
        provider("codex")


def test_refusal_without_providers_names_none() -> None:
    with pytest.raises(SandboxRefused, match="installed: none"):
        provider(installed={})


def upstream(missing: str | None) -> Upstream:
    return Upstream(name="a", base_url="https://model.test", missing=missing)


def test_provider_is_missing_if_all_upstreams_are() -> None:
    assert missing_reason([upstream("no key"), upstream("no token")]) == "no key; no token"
    assert missing_reason([upstream("no key"), upstream(None)]) == ""
    assert missing_reason([]) == ""


def candidate(name: str, preference: int, *, ready: bool = True, isolates: bool = True) -> Candidate:
    remedy = "" if ready else f"install {name}"
    readiness = Readiness(ready=ready, isolates=isolates, detail=f"{name} checked", remedy=remedy)
    return Candidate(name=name, preference=preference, readiness=readiness)


def runtime(*candidates: Candidate, wanted: str = "", runs_tools: bool = True) -> str:
    return choose_runtime(wanted=wanted, runs_tools=runs_tools, candidates=candidates)


def test_tools_get_the_strongest_isolation() -> None:
    """A provider without tools gets the runtime that starts fastest."""
    both = (candidate("docker", 20), candidate("process", 10))
    assert (runtime(*both), runtime(*both, runs_tools=False)) == ("docker", "process")


def test_runtime_that_is_not_ready_is_skipped() -> None:
    assert runtime(candidate("docker", 20, ready=False), candidate("process", 10)) == "process"


@pytest.mark.invariant(number=8)
def test_tools_without_isolation_are_refused() -> None:
    weak = candidate("process", 10, isolates=False)
    assert runtime(weak, runs_tools=False) == "process"
    with pytest.raises(SandboxRefused, match="No sandbox can be made for this agent"):
        runtime(weak)


def test_named_runtime_is_used_or_refused() -> None:
    both = (candidate("docker", 20), candidate("process", 10))
    assert runtime(*both, wanted="process") == "process"
    with pytest.raises(SandboxRefused, match=r"'docker' cannot be used: docker checked\. install docker"):
        runtime(candidate("docker", 20, ready=False), candidate("process", 10), wanted="docker")
    with pytest.raises(SandboxRefused, match=r"'podman' is not installed \(installed: docker, process\)"):
        runtime(*both, wanted="podman")


def test_refusal_has_the_remedy_of_each_runtime() -> None:
    with pytest.raises(SandboxRefused, match=r"install docker.*install process"):
        runtime(candidate("docker", 20, ready=False), candidate("process", 10, ready=False))


def test_refusal_without_runtimes_explains_installation() -> None:
    with pytest.raises(SandboxRefused, match="pip install nanoclaw-runtime-docker"):
        runtime()


def test_operator_may_allow_tools_without_isolation() -> None:
    allowed = Readiness(ready=True, isolates=False, detail="plain", takes_tools_unisolated=True)
    candidate = Candidate(name="process", preference=0, readiness=allowed)
    assert choose_runtime(wanted="", runs_tools=True, candidates=[candidate]) == "process"
