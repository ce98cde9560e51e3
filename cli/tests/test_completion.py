"""Completion in the shells themselves, of a host that runs."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from ncl_process import WAIT_S, end, first_line, ncl, serving

Typed = Callable[..., list[str]]
BIN = Path(sys.executable).parent
# readline ends words at = and :, as COMP_WORDBREAKS says
BASH = """
source <(ncl completion bash)
COMP_WORDS=({words})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_ncl
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
ZSH = """
autoload -Uz compinit && compinit -u -D
source <(ncl completion zsh)
[[ $_comps[ncl] == _ncl ]] || print not registered
compadd() {{ shift 4; print -rl -- "${{(@P)1}}" }}
_files() {{ print :files }}
words=({words})
CURRENT=$#words PREFIX=$words[-1]
_ncl
"""
FISH = """
source (ncl completion fish | psub)
complete -C {line}
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """The environment of a shell that finds ncl, and a host that runs."""
    home = tmp_path_factory.mktemp("completion") / "home"
    with serving(home) as process:
        first_line(process)
        yield environment(home)
        end(process)


def environment(home: Path) -> Mapping[str, str]:
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "HOME": str(home.parent), "NANOCLAW_HOME": str(home)}


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None and os.environ.get("CI") == "true":
        pytest.fail(f"CI needs {name}")
    return found or pytest.skip(f"{name} is not installed")


def in_shell(name: str, script: str, variables: Mapping[str, str], *options: str) -> list[str]:
    done = subprocess.run(
        [program(name), *options, "-c", script],
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S,
    )
    assert done.stderr == ""
    return [line for line in done.stdout.splitlines() if line]


def in_bash(line: str, variables: Mapping[str, str]) -> list[str]:
    words = line.replace("=", " = ").split(" ")
    quoted = " ".join(map(shlex.quote, [word for word in words[:-1] if word] + words[-1:]))
    return in_shell("bash", BASH.format(words=quoted), variables, "--norc")


def in_zsh(line: str, variables: Mapping[str, str]) -> list[str]:
    return in_shell("zsh", ZSH.format(words=" ".join(map(shlex.quote, line.split(" ")))), variables, "-f")


def in_fish(line: str, variables: Mapping[str, str]) -> list[str]:
    found = in_shell("fish", FISH.format(line=shlex.quote(line)), variables, "--no-config")
    return [one.partition("\t")[0] for one in found]


shells = pytest.mark.parametrize("complete", [in_bash, in_zsh, in_fish], ids=["bash", "zsh", "fish"])


@shells
def test_a_noun_of_the_running_host_is_completed(complete, running):
    assert complete("ncl gro", running) == ["groups"]


@shells
def test_the_verbs_and_options_of_the_running_host_are_completed(complete, running):
    assert sorted(complete("ncl groups config re", running)) == ["remove-mcp-server", "remove-mount", "remove-package"]
    assert complete("ncl wirings create --engage-m", running) == ["--engage-mode"]


@shells
def test_the_choices_of_an_option_are_completed(complete, running):
    assert sorted(complete("ncl wirings create --engage-mode men", running)) == ["mention", "mention-sticky"]


@shells
def test_a_choice_behind_an_equals_sign_is_completed_in_the_way_of_the_shell(complete, running):
    found = sorted(complete("ncl wirings create --engage-mode=men", running))
    prefix = "" if complete is in_bash else "--engage-mode="
    assert found == [f"{prefix}mention", f"{prefix}mention-sticky"]


@shells
def test_a_command_of_this_machine_is_completed_with_what_it_takes(complete, running):
    assert sorted(complete("ncl plugins ", running)) == ["disable", "enable", "info", "list"]
    assert complete("ncl plugins info termi", running) == ["terminal"]
    assert complete("ncl completion fi", running) == ["fish"]


@shells
def test_without_a_host_the_commands_of_this_machine_are_completed_and_nothing_is_said(complete, tmp_path):
    nobody = environment(tmp_path / "home")
    assert sorted(complete("ncl s", nobody)) == ["serve", "status"]
    assert complete("ncl groups ", nobody) == []


@shells
def test_the_home_that_is_typed_is_asked(complete, running, tmp_path):
    nobody = environment(tmp_path / "elsewhere")
    assert complete(f"ncl --home {running['NANOCLAW_HOME']} --json gro", nobody) == ["groups"]


def test_a_path_is_completed_by_the_shell(running):
    folder = Path(running["NANOCLAW_HOME"])
    assert in_zsh("ncl --home /", running) == [":files"]
    assert f"{folder}/" in in_fish(f"ncl --home {str(folder)[:-1]}", running)


@pytest.mark.parametrize(
    "words", [[], [""], ["--home"], ["groups", "-x", ""], ["\x1b[2J", ""], ["chat", "--x", ""], ["help", "a", "b", ""]]
)
def test_whatever_is_typed_completing_ends_in_order_and_says_nothing_else(words, tmp_path):
    done = ncl(tmp_path / "home", "complete", "--", *words)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_command_that_cannot_be_loaded_says_nothing_into_the_line(tmp_path):
    metadata = tmp_path / "acme-1.0.dist-info"
    metadata.mkdir()
    (metadata / "entry_points.txt").write_text("[nanoclaw.commands]\nwave = acme:wave\n")
    (tmp_path / "acme.py").write_text("print('hello')\nraise SystemExit('no')\n")
    done = ncl(tmp_path / "home", "complete", "--", "wave", "", environment={"PYTHONPATH": str(tmp_path)})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_script_says_how_it_is_installed():
    said = ncl(Path("/nowhere"), "completion", "--help").stdout
    assert all(f"ncl completion {shell}" in said for shell in ("bash", "zsh", "fish"))
