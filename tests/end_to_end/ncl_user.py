"""A user who types `ncl` with the real program, and checks of the output."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import field, frozen

UNPRIVILEGED = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()
PATIENCE_S = 180.0
REMOVED_VARIABLES = ("ANTHROPIC_", "CLAUDE_CODE_OAUTH_TOKEN", "DOCKER_HOST", "NANOCLAW_")
NO_ENGINE = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}


@frozen(kw_only=True)
class Output:
    """A program's exit code and output."""

    code: int
    stdout: str
    stderr: str


@frozen(kw_only=True)
class User:
    """A user who types `ncl …`.

    Args:
        home: The instance directory.
        environment: Additional environment variables.
        is_unprivileged: True drops root's capabilities, so that file permissions apply.
    """

    home: Path
    environment: Mapping[str, str] = field(factory=dict)
    is_unprivileged: bool = False

    def run(self, *words: str) -> Output:
        """Run `ncl` with arguments and return its output."""
        done = subprocess.run(
            [
                *(UNPRIVILEGED if self.is_unprivileged else ()),
                sys.executable,
                "-m",
                "nanoclaw_cli",
                "--home",
                str(self.home),
                *words,
            ],
            cwd="/",
            env=self.variables(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
        assert "Traceback" not in done.stdout + done.stderr
        return Output(code=done.returncode, stdout=done.stdout, stderr=done.stderr)

    def chat(self, *words: str) -> Output:
        """Run `ncl chat`."""
        return self.run("chat", *(words or ("hello",)))

    def variables(self) -> dict[str, str]:
        """Return the environment variables, without this machine's own for models, engines and instances."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(REMOVED_VARIABLES)}
        return kept | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"} | dict(self.environment)

    def create(self, settings: str = "") -> User:
        """Create the instance with some settings."""
        assert self.run("init").code == 0
        (self.home / "nanoclaw.toml").write_text(settings, encoding="utf-8")
        return self


def assert_one_error(output: Output, *, code: int, words: Sequence[str]) -> None:
    """Assert an exit code and one line on stderr that contains all words."""
    assert output.code == code
    assert output.stdout == ""
    (line,) = output.stderr.splitlines()
    assert line.startswith("error (")
    assert [word for word in words if word not in line] == []
