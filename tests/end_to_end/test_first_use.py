"""First use with broken surroundings.

The real program prints one message with cause and remedy, and no traceback.

`tests/contract/test_launcher.py` tests an outdated Python, which the launcher reports.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest
from ncl_user import NO_ENGINE, Output, User, assert_one_error

from nanoclaw_core.sandboxes.notices import REFERENCE_HINT
from nanoclaw_core.testing.fake_messages_api import serve_in_thread
from nanoclaw_core.testing.messages_script import Step

KEY = "sk-ant-api03-this-must-stay-on-the-host"
NO_BUBBLEWRAP = '[plugins.process]\nbubblewrap = "no-such-program"\n'
PROCESS_ONLY = '[core]\nruntime = "process"\n'
NO_RETRIES = "[plugins.claude]\nmax_retries = 0\n"


def assert_no_answer(output: Output, *words: str, before: Sequence[str] = ()) -> None:
    """Assert that the last line on stderr explains the missing answer with all words.

    `before` holds the beginnings of the earlier lines.
    """
    assert (output.code, output.stdout) == (1, "")
    *earlier, line = output.stderr.splitlines()
    assert [word for word in words if word not in line] == []
    assert [text[: len(start)] for text, start in zip(earlier, before, strict=True)] == list(before)


def assert_no_agent(user: User, *words: str) -> None:
    """Assert that the user reads plain words with a reference, and that the log's line of it contains all words."""
    output = user.chat()
    assert_no_answer(output, "The agent cannot be started right now. Your message is kept", REFERENCE_HINT)
    reference = output.stderr.rpartition(f"{REFERENCE_HINT} ")[2].strip().rstrip(".")
    log = (user.home / "logs" / "nanoclaw.log").read_text(encoding="utf-8")
    parts = f'"correlation": "{reference}"', '"event": "message waits"'
    (line,) = [line for line in log.splitlines() if all(part in line for part in parts)]
    assert [word for word in words if json.dumps(word)[1:-1] not in line] == []


# No isolation, no engine, no image, no gateway, no key


def test_missing_runtimes_with_a_key_are_reported_with_a_remedy(home: Path) -> None:
    user = User(home=home, environment={**NO_ENGINE, "ANTHROPIC_API_KEY": KEY}).create(NO_BUBBLEWRAP)
    assert_no_agent(user, "no Docker engine at unix:///nowhere/docker.sock", "apt install bubblewrap")
    doctor = user.run("doctor")
    assert doctor.code == 1
    assert re.search(r"(?m)^warning +runtimes +process .*\n +→ Install bubblewrap", doctor.stdout)
    assert re.search(r"(?m)^problem +runtimes +isolation .*\n +→ Fix one of the runtimes above", doctor.stdout)


def test_missing_runtimes_without_a_key_still_answer(home: Path) -> None:
    output = User(home=home, environment=NO_ENGINE).create(NO_BUBBLEWRAP).chat()
    assert output.code == 0
    assert "No language model is configured" in output.stdout
    assert "set ANTHROPIC_API_KEY" in output.stdout


def test_forbidden_engine_is_reported_with_the_docker_group(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(place / "docker.sock"))
        engine.listen()
        (place / "docker.sock").chmod(0)
        environment = {"DOCKER_HOST": f"unix://{place}/docker.sock", "ANTHROPIC_API_KEY": KEY}
        user = User(home=place / "home", environment=environment, is_unprivileged=True).create(NO_BUBBLEWRAP)
        assert_no_agent(user, "may not use the Docker engine", "sudo usermod -aG docker $USER")


@pytest.mark.docker
def test_missing_image_is_reported_with_the_build_command(home: Path, docker_address: str) -> None:
    environment = {"DOCKER_HOST": docker_address, "ANTHROPIC_API_KEY": KEY}
    user = User(home=home, environment=environment).create('[core]\nruntime = "docker"\n')
    assert_no_agent(user, "image", "is missing", "ncl image build")


def test_disabled_gateway_is_reported_with_a_remedy(home: Path) -> None:
    settings = '[core]\ndisabled_plugins = ["gateway", "docker"]\n[plugins.process]\nallow_unsandboxed = true\n'
    user = User(home=home, environment={"ANTHROPIC_API_KEY": KEY}).create(settings)
    assert_no_agent(user, "needs the model gateway", 'Remove "gateway" from disabled_plugins')
    assert "Remove it from core.disabled_plugins." in user.run("doctor").stdout


def test_provider_without_a_key_is_reported_with_its_variable(home: Path) -> None:
    user = User(home=home).create('[core]\nprovider = "claude"\nfallback_provider = ""\n')
    assert_no_agent(user, "no model key", "set ANTHROPIC_API_KEY", "restart the host")


# The model


@pytest.mark.bubblewrap
def test_wrong_key_is_reported_in_plain_words(home: Path, bubblewrap: None) -> None:
    with serve_in_thread(key="another key") as api:
        environment = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": api.url}
        output = User(home=home, environment=environment).create(PROCESS_ONLY).chat()
    assert_no_answer(output, "my access to the language model was refused", "check the model key", "Reference: ")
    assert KEY not in output.stdout


@pytest.mark.slow
@pytest.mark.bubblewrap
def test_overloaded_model_is_reported_in_plain_words(home: Path, bubblewrap: None) -> None:
    with serve_in_thread([Step(error=529, times=0)]) as api:
        environment = {"ANTHROPIC_API_KEY": api.key, "ANTHROPIC_BASE_URL": api.url}
        user = User(home=home, environment=environment)
        output = user.create(f"{PROCESS_ONLY}turn_pauses_s = [10.0]\n{NO_RETRIES}").chat()
    meanwhile = "My language model is overloaded right now. I keep trying"
    words = ("my language model is overloaded", "try again in a few minutes", "Reference: ")
    assert_no_answer(output, *words, before=[meanwhile])


@pytest.mark.slow
@pytest.mark.bubblewrap
def test_unreachable_model_is_reported_in_plain_words(home: Path, bubblewrap: None) -> None:
    with socket.socket() as taken:  # bound but not listening, so that it refuses connections and stays reserved
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        user = User(home=home, environment={"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": url})
        output = user.create(f"{PROCESS_ONLY}turn_pauses_s = [0.1]\n{NO_RETRIES}").chat()
    words = ("I can't reach my language model", "try again in a few minutes", "Reference: ")
    assert_no_answer(output, *words)


# Settings and plugins


@pytest.mark.parametrize("words", [("init",), ("serve",), ("chat", "hello")])
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ('[core]\nprovidr = "mock"\n', "Did you mean 'provider'?"),
        ("[core]\nmax_sandboxes = 0\n", "max_sandboxes"),
        ('[plugin.mock]\nscript = ""\n', "Did you mean 'plugins'?"),
        ("this is no toml", "move it away to start with defaults"),
    ],
)
def test_typo_in_the_settings_is_reported(home: Path, words: Sequence[str], settings: str, expected: str) -> None:
    user = User(home=home).create(settings)
    assert_one_error(user.run(*words), code=1, words=["nanoclaw.toml", expected])


def test_typo_in_a_plugin_table_is_reported_with_the_answer(home: Path) -> None:
    output = User(home=home, environment=NO_ENGINE).create('[plugins.claude]\nmodle = "opus"\n').chat()
    assert output.code == 0
    (line,) = output.stderr.splitlines()
    assert "plugins.claude.modle: unknown key" in line


def test_doctor_reports_a_table_without_a_plugin(home: Path) -> None:
    doctor = User(home=home, environment=NO_ENGINE).create("[plugins.mok]\necho = true\n").run("doctor")
    assert re.search(r"\[plugins\.mok\].*\n +→ Did you mean \[plugins\.mock\]\?", doctor.stdout)


@pytest.fixture
def broken_plugin(tmp_path: Path) -> dict[str, str]:
    """The environment variables for `ncl` with an installed plugin that cannot be imported."""
    metadata = tmp_path / "site" / "nanoclaw_channel_broken-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: nanoclaw-channel-broken\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[nanoclaw]\nbroken = nanoclaw_channel_broken.host\n")
    return {"PYTHONPATH": str(tmp_path / "site")}


def test_broken_plugin_is_reported_with_the_answer(home: Path, broken_plugin: dict[str, str]) -> None:
    output = User(home=home, environment=NO_ENGINE | broken_plugin).create().chat()
    assert output.code == 0
    assert "said: hello" in output.stdout
    (line,) = output.stderr.splitlines()
    assert "broken" in line
    assert "No module named 'nanoclaw_channel_broken'" in line


def test_broken_required_plugin_stops_the_start(home: Path, broken_plugin: dict[str, str]) -> None:
    user = User(home=home, environment=broken_plugin).create('[core]\nrequired_plugins = ["broken"]\n')
    output = user.run("serve")
    assert output.code == 1
    last = output.stderr.splitlines()[-1]
    assert last.startswith("error (")
    assert "broken" in last
