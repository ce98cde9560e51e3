"""Every hook keeps the rules of hookspecs.py."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable

import pytest
from checkout import ROOT

from nanoclaw_core import hookspecs

HOOKS = {
    name: function
    for name, function in vars(hookspecs).items()
    if inspect.isfunction(function) and getattr(function, f"{hookspecs.GROUP}_spec", None) is not None
}
KINDS = ("collect", "vote", "notify")
TESTS = "\n".join(
    path.read_text(encoding="utf-8")
    for pattern in ("tests/**/*.py", "container/*/tests/**/*.py", "plugins/*/*/tests/**/*.py")
    for path in ROOT.glob(pattern)
)
hooks = pytest.mark.parametrize("hook", HOOKS.values(), ids=HOOKS.keys())


def kind(hook: Callable[..., object]) -> str:
    return re.findall(rf"\(({'|'.join(KINDS)})\)", hook.__doc__ or "")[0]


def test_hooks_of_all_three_kinds_exist():
    assert {kind(hook) for hook in HOOKS.values()} == set(KINDS)


def test_every_prefixed_function_is_a_hook():
    named = {name for name in vars(hookspecs) if name.startswith("nanoclaw_")}
    assert named == set(HOOKS)


@hooks
def test_hook_has_the_prefix_and_one_kind(hook: Callable[..., object]):
    assert hook.__name__.startswith("nanoclaw_")
    assert len(re.findall(rf"\((?:{'|'.join(KINDS)})\)", hook.__doc__ or "")) == 1


@hooks
def test_hook_has_a_version(hook: Callable[..., object]):
    assert re.search(r"^\.\. versionadded:: \d+\.\d+$", inspect.getdoc(hook) or "", re.MULTILINE)


@hooks
def test_hook_has_complete_types(hook: Callable[..., object]):
    signature = inspect.signature(hook)
    assert signature.return_annotation is not inspect.Signature.empty
    assert [p.name for p in signature.parameters.values() if p.annotation is inspect.Parameter.empty] == []


@hooks
def test_hook_return_type_fits_its_kind(hook: Callable[..., object]):
    returned = str(inspect.signature(hook).return_annotation)
    expected = {"collect": r"Iterable\[\w+\]", "vote": r"Verdict \| None", "notify": "None"}[kind(hook)]
    assert re.fullmatch(expected, returned)


@hooks
def test_collect_hook_takes_only_collected_values(hook: Callable[..., object]):
    collected = {"nanoclaw_verbs": ["resources"]}  # docs/decisions/0007
    assert kind(hook) != "collect" or list(inspect.signature(hook).parameters) == collected.get(hook.__name__, [])


@hooks
def test_hook_is_named_in_a_test(hook: Callable[..., object]):
    assert re.search(rf"\b{hook.__name__}\b|\btest_{hook.__name__}_", TESTS)
