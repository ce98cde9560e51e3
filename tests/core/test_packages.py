"""What may be the name of a package; whatever gets through ends up in a build that runs as root."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanoclaw_core import InvalidArguments, Packages

KINDS = ("apt", "npm", "pip")
COMMANDS = ("a;b", "a b", "$(id)", "`id`", "a|b", "a&b", "a>b", "a'b", 'a"b', "a\\", "a*", "#a", "jq; touch x")
OPTIONS = ("-rf", "--config", "-o=APT::x", "-r requirements.txt", "--index-url=http://x")
PLACES = ("../x", "/etc/passwd", "./x", "a/../b", "http://x/y", "git+https://x", "a@file:///x", ".", "..")
LINES = ("", " ", "\n", "jq\n", "jq\r", "\njq", "a\nb", "jq\0", "jq\u2028--x")
NO_TEXTS = (None, 1, 1.5, True, False, ["jq"], [["jq"]], {"name": "jq"}, b"jq")


def refuse(kind: str, names: list[Any]) -> str:
    """Have a list of names refused, and return the reason."""
    with pytest.raises(InvalidArguments) as refused:
        Packages(**{kind: names})
    return str(refused.value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [*COMMANDS, *OPTIONS, *PLACES, *LINES])
def test_warning_50_what_is_no_name_is_refused_wherever_packages_are_made(kind: str, name: str) -> None:
    assert f"{name!r} cannot be the name of a package of {kind}" in refuse(kind, [name])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NO_TEXTS)
def test_warning_52_what_is_no_text_is_refused(kind: str, name: object) -> None:
    assert repr(name) in refuse(kind, [name])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", ["", None, 0, False, "jq"])
def test_warning_52_one_wrong_name_refuses_all_wherever_it_stands(kind: str, first: object) -> None:
    refuse(kind, [first, "jq; touch x"])
    refuse(kind, ["jq", first, "fine", "jq; touch x"])


@given(kind=st.sampled_from(KINDS), name=st.text("aZ09-._+@/~ ;\n$=é", max_size=6) | st.text(max_size=6))
def test_warning_50_whatever_gets_through_is_one_word_that_is_no_option(kind: str, name: str) -> None:
    try:
        Packages(**{kind: [name]})
    except InvalidArguments:
        return
    assert name.isascii()
    assert name == name.strip()
    assert name[0] not in "-./~"
    assert not set(name) & set(" \t\n\r;&|<>$`'\"\\(){}[]*?!#=:,%^")


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("apt", ["jq", "g++", "libpython3.11", "python3-venv", "libstdc++-12-dev"]),
        ("npm", ["is-odd", "@scope/tool", "lodash.merge"]),
        ("pip", ["iniconfig", "ruamel.yaml", "Pillow", "zope-interface", "x"]),
    ],
)
def test_real_names_are_taken_as_they_are(kind: str, names: list[str]) -> None:
    assert list(getattr(Packages(**{kind: names}), kind)) == names


def test_no_packages_are_false() -> None:
    assert not Packages()
    assert Packages(pip=["iniconfig"])


@pytest.mark.parametrize("names", ["jq", None, 7, {"jq": 1}, b"jq"])
def test_warning_52_what_is_no_list_is_refused(names: object) -> None:
    with pytest.raises(InvalidArguments, match="packages are a list of names"):
        Packages(apt=names)  # type: ignore[arg-type]


def test_a_name_that_would_have_apt_remove_something_is_refused() -> None:
    with pytest.raises(InvalidArguments):
        Packages(apt=["python3-"])
