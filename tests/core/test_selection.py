"""Which provider and which runtime (⚠32)."""

import pytest

from nanoclaw_core import Provider, Readiness, SandboxRefused, Upstream
from nanoclaw_core.sandboxes.selection import Candidate, ChosenProvider, choose_provider, choose_runtime, why_missing

INSTALLED = {name: Provider(name=name, runs_tools=name != "mock") for name in ("claude", "mock", "opencode")}


def provider(session: str | None = None, group: str | None = None, **more: object) -> ChosenProvider:
    values = {"default": "claude", "fallback": "mock", "installed": INSTALLED, "missing": {}} | more
    return choose_provider(session=session, group=group, **values)  # type: ignore[arg-type]


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
def test_warning_32_the_session_comes_before_the_group_and_the_group_before_the_settings(
    session: str | None, group: str | None, chosen: str
) -> None:
    assert provider(session, group) == ChosenProvider(name=chosen)


def test_the_fallback_answers_where_nobody_chose_and_the_default_cannot_work() -> None:
    assert provider(missing={"claude": "no key"}) == ChosenProvider(name="mock", instead_of="claude")
    without = {name: one for name, one in INSTALLED.items() if name != "claude"}
    assert provider(installed=without) == ChosenProvider(name="mock", instead_of="claude")


@pytest.mark.parametrize(("session", "group"), [("claude", None), (None, "claude")])
def test_what_somebody_chose_is_never_replaced(session: str | None, group: str | None) -> None:
    assert provider(session, group, missing={"claude": "no key"}) == ChosenProvider(name="claude")


def test_without_a_fallback_the_default_stays() -> None:
    assert provider(fallback="", missing={"claude": "no key"}) == ChosenProvider(name="claude")


def test_a_chosen_provider_that_is_not_installed_is_refused_with_the_remedy() -> None:
    with pytest.raises(SandboxRefused, match=r"'codex' is not installed .*Look whether it is spelled right"):
        provider("codex")


def test_with_nothing_installed_the_refusal_says_so() -> None:
    with pytest.raises(SandboxRefused, match="installed: none"):
        provider(installed={})


def upstream(missing: str | None) -> Upstream:
    return Upstream(name="a", base_url="https://model.test", missing=missing)


def test_a_provider_is_missing_when_all_its_upstreams_are() -> None:
    assert why_missing([upstream("no key"), upstream("no token")]) == "no key; no token"
    assert why_missing([upstream("no key"), upstream(None)]) == ""
    assert why_missing([]) == ""


def candidate(name: str, preference: int, *, ready: bool = True, isolates: bool = True) -> Candidate:
    remedy = "" if ready else f"install {name}"
    readiness = Readiness(ready=ready, isolates=isolates, detail=f"{name} looked at", remedy=remedy)
    return Candidate(name=name, preference=preference, readiness=readiness)


def runtime(*candidates: Candidate, wanted: str = "", runs_tools: bool = True) -> str:
    return choose_runtime(wanted=wanted, runs_tools=runs_tools, candidates=candidates)


def test_tools_get_the_strongest_wall_and_what_runs_none_starts_quickest() -> None:
    both = (candidate("docker", 20), candidate("process", 10))
    assert (runtime(*both), runtime(*both, runs_tools=False)) == ("docker", "process")


def test_what_is_not_ready_is_not_taken() -> None:
    assert runtime(candidate("docker", 20, ready=False), candidate("process", 10)) == "process"


def test_invariant_08_tools_never_run_without_isolation_where_nobody_chose() -> None:
    weak = candidate("process", 10, isolates=False)
    assert runtime(weak, runs_tools=False) == "process"
    with pytest.raises(SandboxRefused, match="No sandbox can be made for this agent"):
        runtime(weak)


def test_a_named_runtime_is_taken_or_refused_but_never_replaced() -> None:
    both = (candidate("docker", 20), candidate("process", 10))
    assert runtime(*both, wanted="process") == "process"
    with pytest.raises(SandboxRefused, match=r"'docker' cannot be used: docker looked at\. install docker"):
        runtime(candidate("docker", 20, ready=False), candidate("process", 10), wanted="docker")
    with pytest.raises(SandboxRefused, match=r"'podman' is not installed \(installed: docker, process\)"):
        runtime(*both, wanted="podman")


def test_a_refusal_has_the_remedy_of_every_runtime() -> None:
    with pytest.raises(SandboxRefused, match=r"install docker.*install process"):
        runtime(candidate("docker", 20, ready=False), candidate("process", 10, ready=False))


def test_without_any_runtime_the_refusal_says_how_to_get_one() -> None:
    with pytest.raises(SandboxRefused, match="pip install nanoclaw-runtime-docker"):
        runtime()


def test_what_the_operator_allowed_without_isolation_is_taken_for_tools_too() -> None:
    allowed = Readiness(ready=True, isolates=False, detail="plain", takes_tools_unisolated=True)
    candidate = Candidate(name="process", preference=0, readiness=allowed)
    assert choose_runtime(wanted="", runs_tools=True, candidates=[candidate]) == "process"
