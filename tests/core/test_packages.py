"""Names of packages: a valid name ends up in an image build that runs as root (⚠50, ⚠52)."""

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
NO_STRINGS = (None, 1, 1.5, True, False, ["jq"], [["jq"]], {"name": "jq"}, b"jq")


def refuse(kind: str, names: list[Any]) -> str:
    """Expect that names are refused; return the reason."""
    with pytest.raises(InvalidArguments) as refused:
        Packages(**{kind: names})
    return str(refused.value)


@pytest.mark.defect(number=50)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [*COMMANDS, *OPTIONS, *PLACES, *LINES])
def test_invalid_package_name_is_refused(kind: str, name: str) -> None:
    assert f"{kind}: must be package names, got {name!r}" in refuse(kind, [name])


@pytest.mark.defect(number=52)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NO_STRINGS)
def test_package_name_that_is_no_string_is_refused(kind: str, name: object) -> None:
    assert repr(name) in refuse(kind, [name])


@pytest.mark.defect(number=52)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", ["", None, 0, False, "jq"])
def test_one_invalid_name_refuses_all_packages(kind: str, first: object) -> None:
    refuse(kind, [first, "jq; touch x"])
    refuse(kind, ["jq", first, "fine", "jq; touch x"])


@pytest.mark.defect(number=50)
@given(kind=st.sampled_from(KINDS), name=st.text("aZ09-._+@/~ ;\n$=é", max_size=6) | st.text(max_size=6))
def test_accepted_package_name_is_one_word(kind: str, name: str) -> None:
    """It is no option, path or shell syntax either."""
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
def test_real_package_names_are_kept_unchanged(kind: str, names: list[str]) -> None:
    assert list(getattr(Packages(**{kind: names}), kind)) == names


def test_empty_packages_are_false() -> None:
    assert not Packages()
    assert Packages(pip=["iniconfig"])


@pytest.mark.defect(number=52)
@pytest.mark.parametrize("names", ["jq", None, 7, {"jq": 1}, b"jq"])
def test_packages_that_are_no_list_are_refused(names: object) -> None:
    with pytest.raises(InvalidArguments, match="packages: must be a list of names"):
        Packages(apt=names)  # type: ignore[arg-type]


def test_apt_name_with_a_removal_suffix_is_refused() -> None:
    with pytest.raises(InvalidArguments):
        Packages(apt=["python3-"])
