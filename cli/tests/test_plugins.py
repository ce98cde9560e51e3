"""`ncl plugins`: states, descriptions, enabling and disabling, also of broken plugins."""

from __future__ import annotations

import json
import shutil
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest
from installed import install
from nanoclaw_cli.plugin_toggle import toggle
from ncl_process import first_line, ncl, serving, stop

from nanoclaw_core import Forbidden, SettingsError

PICKY = """
from attrs import field, frozen
from nanoclaw_core import Channel, Secret, hookimpl, matches

@frozen
class Settings:
    bot_token: Secret = field(validator=matches("[a-z]+"))
    app_token: Secret
    retries: int = 3

@hookimpl
def nanoclaw_channels():
    yield Channel(name="picky", settings=Settings, connect=lambda settings, context: None)
"""
WRITTEN = """\
# Mine.
[core]  # the host's
owners = ["terminal:operator"]
disabled_plugins = [
    "mock",  # it is only for tests
    # and this one is noisy
    "claude",
]

[plugins.gateway]
max_calls = 4   # a small machine
[[core.allowed_mounts]]
path = "/srv"
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    assert ncl(home, "init").returncode == 0
    return home


@pytest.fixture
def site(tmp_path: Path) -> dict[str, str]:
    """Install two broken plugins and one that needs settings.

    Return the environment for `ncl`.
    """
    site = tmp_path / "site"
    install(site, "acme-bad", "acme_bad", "raise SystemExit('imported')", plugin="bad")
    install(site, "acme-worse", "acme_worse", "def", plugin="worse")
    install(site, "acme-picky", "acme_picky", PICKY, plugin="picky")
    return {"PYTHONPATH": str(site)}


def data(home: Path, *words: str, environment: dict[str, str] | None = None) -> Any:
    done = ncl(home, "plugins", *words, "--json", environment=environment)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)["data"]


def state(home: Path, name: str, environment: dict[str, str]) -> tuple[str, str]:
    (plugin,) = [plugin for plugin in data(home, "list", environment=environment) if plugin["name"] == name]
    return plugin["state"], plugin["reason"]


def test_plugins_list_names_missing_required_settings(home, site):
    assert state(home, "picky", site) == ("needs settings", "set [plugins.picky] bot_token, app_token")
    with (home / "nanoclaw.toml").open("a") as file:
        file.write('[plugins.picky]\nbot_token = "t"\n')
    assert state(home, "picky", site) == ("needs settings", "set [plugins.picky] app_token")
    with (home / "nanoclaw.toml").open("a") as file:
        file.write('app_token = "t"\n')
    assert state(home, "picky", site) == ("active", "")


def test_plugins_list_names_a_misspelt_setting(home, site):
    with (home / "nanoclaw.toml").open("a") as file:
        file.write('[plugins.picky]\nbot_tokne = "t"\n')
    assert state(home, "picky", site) == (
        "failed",
        f"plugins.picky.bot_tokne: unknown key. Did you mean 'bot_token'? Fix it in {home}/nanoclaw.toml.",
    )


def test_secret_of_a_setting_is_in_no_output_and_no_log(home, site):
    with (home / "nanoclaw.toml").open("a") as file:
        file.write('[plugins.picky]\nbot_token = "7x-secret"\napp_token = "env:TOKEN"\n')
    environment = {**site, "TOKEN": "7x-secret", "DOCKER_HOST": "unix:///nowhere.sock"}
    reason = "plugins.picky.bot_token: is invalid (BrokenRule), got Secret("
    commands = [("plugins", "list"), ("plugins", "info", "picky"), ("doctor",), ("chat", "hello")]
    answers = [ncl(home, *words, "--json", environment=environment) for words in commands]
    outputs = [answer.stdout + answer.stderr for answer in answers]
    outputs.append((home / "logs" / "nanoclaw.log").read_text(encoding="utf-8"))
    assert [output for output in outputs if "7x-secret" in output] == []
    assert [reason in output for output in (outputs[0], outputs[2], outputs[4])] == [True] * 3


def test_doctor_missing_settings_are_only_a_warning(home, site):
    """A plugin that needs settings is a warning, a failed plugin a problem."""
    findings = json.loads(ncl(home, "doctor", "--json", environment=site).stdout)["data"]
    by_name = {finding["name"]: finding for finding in findings}
    assert (by_name["picky"]["state"], by_name["bad"]["state"]) == ("warning", "problem")
    assert by_name["picky"]["remedy"].startswith(
        "In nanoclaw.toml set [plugins.picky] bot_token, app_token; or disable"
    )


def test_plugins_states_come_from_the_running_host(home, site):
    with serving(home, **site) as process:
        assert " · 2 plugins failed; " in first_line(process)
        states = {plugin["name"]: plugin["state"] for plugin in data(home, "list")}
        assert (states["picky"], states["bad"], states["terminal"]) == ("needs settings", "failed", "active")
        info = data(home, "info", "picky", environment=site)
        assert (info["state"], info["reason"]) == ("needs settings", "set [plugins.picky] bot_token, app_token")
        output = ncl(home, "plugins", "disable", "mock").stdout
        assert output.endswith("The change takes effect after you restart the running host.\n")
        assert data(home, "info", "mock")["state"] == "active"
        stop(process)


def test_plugins_info_plugin_installed_after_host_start(home, site):
    with serving(home) as process:
        first_line(process)
        assert data(home, "info", "picky", environment=site)["state"] == "not loaded"
        stop(process)


def test_plugins_info_shows_distribution_and_parts(home):
    info = data(home, "info", "claude")
    assert (info["distribution"], info["version"]) == ("nanoclaw-provider-claude", "0.1.0")
    assert (info["host"], info["runner"]) == ("nanoclaw_provider_claude.host", "nanoclaw_provider_claude.runner")
    assert info["summary"].startswith("Claude as the agent")
    assert "nanoclaw-wire<0.2,>=0.1" in info["requires"]
    assert data(home, "info", "terminal")["commands"] == ["chat"]


def test_plugins_info_shows_settings(home):
    (home / "nanoclaw.toml").write_text(WRITTEN)
    keys = ("is_set", "is_disabled", "is_required")
    assert [data(home, "info", "gateway")[key] for key in keys] == [True, False, False]
    assert [data(home, "info", "mock")[key] for key in keys] == [False, True, False]
    assert data(home, "info", "mock")["settings"] == f"[plugins.mock] in {home / 'nanoclaw.toml'}"


@pytest.mark.parametrize("name", ["bad", "worse"])
def test_plugins_info_imports_no_plugin(home, site, name):
    info = data(home, "info", name, environment=site)
    assert (info["distribution"], info["host"], info["runner"]) == (f"acme-{name}", f"acme_{name}", None)


def test_plugins_info_works_with_unreadable_settings(home):
    (home / "nanoclaw.toml").write_text("this is no toml")
    info = data(home, "info", "mock")
    assert (info["distribution"], info["is_disabled"]) == ("nanoclaw-provider-mock", None)
    assert "cannot be read" in info["error"]


def test_plugins_info_names_both_of_two_distributions(home, site, tmp_path):
    install(tmp_path / "site", "acme-second", "acme_second", "", plugin="bad")
    info = data(home, "info", "bad", environment=site)
    assert (info["distribution"], info["also_in"]) == ("acme-bad", ["acme-second 1.2"])


@pytest.mark.parametrize("command", ["info", "enable", "disable"])
def test_plugins_unknown_name_is_refused_with_suggestion(home, command):
    before = (home / "nanoclaw.toml").read_bytes()
    done = ncl(home, "plugins", command, "termnal")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error (not-found): no plugin 'termnal' is installed. Did you mean 'terminal'?\n"
    assert (home / "nanoclaw.toml").read_bytes() == before


def test_plugins_disable_and_enable_are_idempotent(home):
    results = [data(home, word, "mock") for word in ("disable", "disable", "enable", "enable")]
    assert [result["changed"] for result in results] == [True, False, True, False]
    assert [result["is_disabled"] for result in results] == [True, True, False, False]
    assert ncl(home, "plugins", "enable", "mock").stdout == "mock is already enabled; nothing was changed.\n"


def test_plugins_disable_works_for_a_broken_plugin(home, site):
    assert ncl(home, "plugins", "disable", "bad", environment=site).returncode == 0
    assert state(home, "bad", site) == ("disabled", "")


def test_plugins_enable_works_for_an_uninstalled_plugin(home, site, tmp_path):
    ncl(home, "plugins", "disable", "bad", environment=site)
    shutil.rmtree(tmp_path / "site")
    assert data(home, "enable", "bad")["changed"]


def test_plugins_disable_refuses_a_required_plugin(home):
    (home / "nanoclaw.toml").write_text('[core]\nrequired_plugins = ["gateway"]\n')
    done = ncl(home, "plugins", "disable", "gateway")
    assert (done.returncode, done.stdout) == (1, "")
    assert "core.required_plugins: contains 'gateway'" in done.stderr


def test_plugins_disable_without_an_instance_names_init(tmp_path):
    done = ncl(tmp_path / "nowhere", "plugins", "disable", "mock")
    assert done.returncode == 1
    assert f"Create an instance with `ncl --home {tmp_path / 'nowhere'} init`" in done.stderr


def test_toggle_keeps_the_rest_of_the_file(tmp_path):
    path = tmp_path / "nanoclaw.toml"
    path.write_text(WRITTEN)
    assert toggle(path, "mock", on=True)
    assert path.read_text() == WRITTEN.replace('    "mock",  # it is only for tests\n', "")
    assert toggle(path, "docker", on=False)
    assert path.read_text() == WRITTEN.replace('    "mock",  # it is only for tests\n', "").replace(
        '"claude",\n', '"claude",\n    "docker",\n'
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# only this\n",
        "[plugins.mock]\necho = true # yes\n",
        "[core]\nowners = []\r\n\r\n[plugins.mock]\r\n",
        "[[core.allowed_mounts]]\npath = '/x'\n",
        "[core]\nowners = []\n[[core.allowed_mounts]]\npath = '/x'\n",
        "core = { owners = ['a'] }\n",
        "core.owners = ['a']\n[plugins.mock]\n",
        "[core]\ndisabled_plugins = ['claude']",
        "[core]\ndisabled_plugins = ['claude',\n'claude' # twice\n]\n",
    ],
)
def test_toggle_changes_only_the_list_in_any_notation(tmp_path, text):
    path = tmp_path / "nanoclaw.toml"
    path.write_bytes(text.encode())
    expected = tomllib.loads(text)
    disabled = expected.setdefault("core", {}).setdefault("disabled_plugins", [])
    disabled.append("mock")
    assert toggle(path, "mock", on=False)
    assert tomllib.loads(path.read_bytes().decode()) == expected
    unchanged = [line for line in text.splitlines() if not line.startswith(("core =", "disabled_plugins"))]
    assert [line.partition(" #")[0] for line in unchanged if line.partition(" #")[0] not in path.read_text()] == []
    assert toggle(path, "mock", on=True)
    disabled.remove("mock")
    assert tomllib.loads(path.read_bytes().decode()) == expected


def test_toggle_refuses_a_list_it_cannot_edit_safely(tmp_path):
    path = tmp_path / "nanoclaw.toml"
    path.write_text(text := "[core]\ndisabled_plugins = ['claude', 'docker' # why\n]\n")
    with pytest.raises(SettingsError, match=r"Set core\.disabled_plugins = \['claude', 'docker', 'mock'\] there"):
        toggle(path, "mock", on=False)
    assert path.read_text() == text


def test_toggle_keeps_file_mode_and_link(tmp_path):
    path, link = tmp_path / "kept.toml", tmp_path / "nanoclaw.toml"
    path.write_text("[core]\n")
    path.chmod(0o600)
    link.symlink_to(path)
    assert toggle(link, "mock", on=False)
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["kept.toml", "nanoclaw.toml"]


@pytest.mark.parametrize(
    "text", ["no toml", "core = 1", "[core]\ndisabled_plugins = 'mock'", "[core]\ndisabled_plugins = [1]", "a = \x00"]
)
def test_toggle_refuses_an_invalid_file(tmp_path, text):
    path = tmp_path / "nanoclaw.toml"
    path.write_text(text)
    with pytest.raises(SettingsError):
        toggle(path, "mock", on=False)
    assert path.read_text() == text


def test_toggle_enables_a_required_plugin(tmp_path):
    path = tmp_path / "nanoclaw.toml"
    path.write_text('[core]\nrequired_plugins = ["mock"]\ndisabled_plugins = ["mock"]\n')
    assert toggle(path, "mock", on=True)
    with pytest.raises(Forbidden):
        toggle(path, "mock", on=False)
