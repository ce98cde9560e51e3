"""Completion in real shells, with a running host."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from ncl_process import WAIT_S, first_line, ncl, serving, stop

pytestmark = pytest.mark.xdist_group("completion")

Typed = Callable[..., list[str]]
BIN = Path(sys.executable).parent
# readline splits words at = and :, as COMP_WORDBREAKS says
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
    """Run a host; return the environment of a shell that finds ncl and this host."""
    home = tmp_path_factory.mktemp("completion") / "home"
    with serving(home) as process:
        first_line(process)
        yield environment(home)
        stop(process)


def environment(home: Path) -> Mapping[str, str]:
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "HOME": str(home.parent), "NANOCLAW_HOME": str(home)}


def program(name: str) -> str:
    path = shutil.which(name)
    if path is None and os.environ.get("CI") == "true":
        pytest.fail(f"CI needs {name}")
    return path or pytest.skip(f"{name} is not installed")


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


def in_fish(typed: str, variables: Mapping[str, str]) -> list[str]:
    lines = in_shell("fish", FISH.format(line=shlex.quote(typed)), variables, "--no-config")
    return [line.partition("\t")[0] for line in lines]


shells = pytest.mark.parametrize("complete", [in_bash, in_zsh, in_fish], ids=["bash", "zsh", "fish"])


@shells
def test_completion_of_a_resource_of_the_host(complete, running):
    assert complete("ncl gro", running) == ["groups"]


@shells
def test_completion_of_verbs_and_options_of_the_host(complete, running):
    assert sorted(complete("ncl groups config re", running)) == ["remove-mcp-server", "remove-mount", "remove-package"]
    assert complete("ncl wirings create --engage-m", running) == ["--engage-mode"]


@shells
def test_completion_of_the_choices_of_an_option(complete, running):
    assert sorted(complete("ncl wirings create --engage-mode men", running)) == ["mention", "mention-sticky"]


@shells
def test_completion_of_a_choice_after_an_equals_sign(complete, running):
    """Only bash replaces just the part after the sign.

    Zsh and fish replace the whole word.
    """
    completed = sorted(complete("ncl wirings create --engage-mode=men", running))
    prefix = "" if complete is in_bash else "--engage-mode="
    assert completed == [f"{prefix}mention", f"{prefix}mention-sticky"]


@shells
def test_completion_of_a_local_command_and_its_arguments(complete, running):
    assert sorted(complete("ncl plugins ", running)) == ["disable", "enable", "info", "list"]
    assert complete("ncl plugins info termi", running) == ["terminal"]
    assert complete("ncl completion fi", running) == ["fish"]


@shells
def test_completion_without_a_host_knows_local_commands(complete, tmp_path):
    no_host = environment(tmp_path / "home")
    assert sorted(complete("ncl s", no_host)) == ["serve", "status"]
    assert complete("ncl groups ", no_host) == []


@shells
def test_completion_asks_the_host_of_a_typed_home(complete, running, tmp_path):
    no_host = environment(tmp_path / "elsewhere")
    assert complete(f"ncl --home {running['NANOCLAW_HOME']} --json gro", no_host) == ["groups"]


def test_completion_of_a_path_is_left_to_the_shell(running):
    folder = Path(running["NANOCLAW_HOME"])
    assert in_zsh("ncl --home /", running) == [":files"]
    assert f"{folder}/" in in_fish(f"ncl --home {str(folder)[:-1]}", running)


@pytest.mark.parametrize(
    "words", [[], [""], ["--home"], ["groups", "-x", ""], ["\x1b[2J", ""], ["chat", "--x", ""], ["help", "a", "b", ""]]
)
def test_complete_never_fails_and_prints_no_error(words, tmp_path):
    done = ncl(tmp_path / "home", "complete", "--", *words)
    assert (done.returncode, done.stderr) == (0, "")


def test_complete_of_a_broken_command_prints_nothing(tmp_path):
    metadata = tmp_path / "acme-1.0.dist-info"
    metadata.mkdir()
    (metadata / "entry_points.txt").write_text("[nanoclaw.commands]\nwave = acme:wave\n")
    (tmp_path / "acme.py").write_text("print('hello')\nraise SystemExit('no')\n")
    done = ncl(tmp_path / "home", "complete", "--", "wave", "", environment={"PYTHONPATH": str(tmp_path)})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_completion_help_explains_the_installation():
    output = ncl(Path("/nowhere"), "completion", "--help").stdout
    assert all(f"ncl completion {shell}" in output for shell in ("bash", "zsh", "fish"))
