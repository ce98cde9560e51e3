"""`ncl plugins`: states, what is known of one, and turning it off and on, whatever is broken."""

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
from ncl_process import end, first_line, ncl, serving

from nanoclaw_core import Forbidden, SettingsError

PICKY = """
from attrs import frozen
from nanoclaw_core import Channel, hookimpl

@frozen
class Settings:
    bot_token: str
    app_token: str
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
    """Two more plugins that nobody can import and one that needs settings, as an environment for `ncl`."""
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
    (found,) = [one for one in data(home, "list", environment=environment) if one["name"] == name]
    return found["state"], found["reason"]


def test_a_plugin_without_its_required_settings_needs_them_and_says_which(home, site):
    assert state(home, "picky", site) == ("needs settings", "set [plugins.picky] bot_token, app_token")
    with (home / "nanoclaw.toml").open("a") as file:
        file.write('[plugins.picky]\nbot_token = "t"\n')
    assert state(home, "picky", site) == ("needs settings", "set [plugins.picky] app_token")
    with (home / "nanoclaw.toml").open("a") as file:
        file.write('app_token = "t"\n')
    assert state(home, "picky", site) == ("active", "")


def test_of_a_setting_that_is_misspelt_the_misspelling_is_said(home, site):
    with (home / "nanoclaw.toml").open("a") as file:
        file.write('[plugins.picky]\nbot_tokne = "t"\n')
    assert state(home, "picky", site) == (
        "failed",
        "[plugins.picky]: unknown key 'bot_tokne'; did you mean 'bot_token'?",
    )


def test_a_plugin_that_needs_settings_is_no_problem_to_the_doctor_and_failed_is_one(home, site):
    found = {one["name"]: one for one in json.loads(ncl(home, "doctor", "--json", environment=site).stdout)["data"]}
    assert (found["picky"]["state"], found["bad"]["state"]) == ("warning", "problem")
    assert found["picky"]["remedy"].startswith("In nanoclaw.toml set [plugins.picky] bot_token, app_token; or disable")


def test_a_running_host_is_asked_for_the_states_and_the_rest_is_metadata(home, site):
    with serving(home, **site) as process:
        assert " · 2 plugins failed; " in first_line(process)
        listed = {one["name"]: one["state"] for one in data(home, "list")}
        assert (listed["picky"], listed["bad"], listed["terminal"]) == ("needs settings", "failed", "active")
        found = data(home, "info", "picky", environment=site)
        assert (found["state"], found["reason"]) == ("needs settings", "set [plugins.picky] bot_token, app_token")
        said = ncl(home, "plugins", "disable", "mock").stdout
        assert said.endswith("It takes effect when the host is restarted; one runs now.\n")
        assert data(home, "info", "mock")["state"] == "active"
        end(process)


def test_a_host_that_started_before_a_plugin_was_installed_says_so(home, site):
    with serving(home) as process:
        first_line(process)
        assert data(home, "info", "picky", environment=site)["state"] == "not loaded"
        end(process)


def test_info_tells_where_a_plugin_comes_from_and_what_it_adds(home):
    found = data(home, "info", "claude")
    assert (found["distribution"], found["version"]) == ("nanoclaw-provider-claude", "0.1.0")
    assert (found["host"], found["runner"]) == ("nanoclaw_provider_claude.host", "nanoclaw_provider_claude.runner")
    assert found["summary"].startswith("Claude as the agent")
    assert "nanoclaw-wire<0.2,>=0.1" in found["requires"]
    assert data(home, "info", "terminal")["commands"] == ["chat"]


def test_info_says_what_the_settings_say_of_a_plugin(home):
    (home / "nanoclaw.toml").write_text(WRITTEN)
    keys = ("is_set", "is_disabled", "is_required")
    assert [data(home, "info", "gateway")[key] for key in keys] == [True, False, False]
    assert [data(home, "info", "mock")[key] for key in keys] == [False, True, False]
    assert data(home, "info", "mock")["settings"] == f"[plugins.mock] in {home / 'nanoclaw.toml'}"


@pytest.mark.parametrize("name", ["bad", "worse"])
def test_info_imports_nothing_of_a_plugin(home, site, name):
    found = data(home, "info", name, environment=site)
    assert (found["distribution"], found["host"], found["runner"]) == (f"acme-{name}", f"acme_{name}", None)


def test_info_works_with_settings_that_cannot_be_read_and_says_so(home):
    (home / "nanoclaw.toml").write_text("this is no toml")
    found = data(home, "info", "mock")
    assert (found["distribution"], found["is_disabled"]) == ("nanoclaw-provider-mock", None)
    assert "cannot be read" in found["settings_trouble"]


def test_info_of_a_name_that_two_distributions_have_names_both(home, site, tmp_path):
    install(tmp_path / "site", "acme-second", "acme_second", "", plugin="bad")
    found = data(home, "info", "bad", environment=site)
    assert (found["distribution"], found["also_in"]) == ("acme-bad", ["acme-second 1.2"])


@pytest.mark.parametrize("command", ["info", "enable", "disable"])
def test_an_unknown_name_is_refused_with_the_nearest_one(home, command):
    before = (home / "nanoclaw.toml").read_bytes()
    done = ncl(home, "plugins", command, "termnal")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error (not-found): no plugin 'termnal' is installed; did you mean 'terminal'?\n"
    assert (home / "nanoclaw.toml").read_bytes() == before


def test_a_plugin_is_disabled_and_enabled_and_the_second_time_changes_nothing(home):
    told = [data(home, word, "mock") for word in ("disable", "disable", "enable", "enable")]
    assert [one["changed"] for one in told] == [True, False, True, False]
    assert [one["is_disabled"] for one in told] == [True, True, False, False]
    assert ncl(home, "plugins", "enable", "mock").stdout == "mock is enabled already; nothing was changed.\n"


def test_a_broken_plugin_can_be_disabled_and_is_then_not_loaded(home, site):
    assert ncl(home, "plugins", "disable", "bad", environment=site).returncode == 0
    assert state(home, "bad", site) == ("disabled", "")


def test_what_is_gone_can_still_be_taken_out_of_the_list(home, site, tmp_path):
    ncl(home, "plugins", "disable", "bad", environment=site)
    shutil.rmtree(tmp_path / "site")
    assert data(home, "enable", "bad")["changed"]


def test_a_required_plugin_is_not_disabled(home):
    (home / "nanoclaw.toml").write_text('[core]\nrequired_plugins = ["gateway"]\n')
    done = ncl(home, "plugins", "disable", "gateway")
    assert (done.returncode, done.stdout) == (1, "")
    assert "'gateway' is in core.required_plugins" in done.stderr


def test_without_an_instance_it_says_how_to_make_one(tmp_path):
    done = ncl(tmp_path / "nowhere", "plugins", "disable", "mock")
    assert done.returncode == 1
    assert f"make an instance with `ncl --home {tmp_path / 'nowhere'} init`" in done.stderr


# The file


def test_everything_else_of_the_file_stays_as_it_is(tmp_path):
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
        "# nothing but this\n",
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
def test_however_the_file_is_written_only_the_list_changes(tmp_path, text):
    path = tmp_path / "nanoclaw.toml"
    path.write_bytes(text.encode())
    meant = tomllib.loads(text)
    listed = meant.setdefault("core", {}).setdefault("disabled_plugins", [])
    listed.append("mock")
    assert toggle(path, "mock", on=False)
    assert tomllib.loads(path.read_bytes().decode()) == meant
    kept = [line for line in text.splitlines() if not line.startswith(("core =", "disabled_plugins"))]
    assert [line.partition(" #")[0] for line in kept if line.partition(" #")[0] not in path.read_text()] == []
    assert toggle(path, "mock", on=True)
    listed.remove("mock")
    assert tomllib.loads(path.read_bytes().decode()) == meant


def test_a_list_that_cannot_be_changed_safely_is_left_to_its_owner(tmp_path):
    path = tmp_path / "nanoclaw.toml"
    path.write_text(text := "[core]\ndisabled_plugins = ['claude', 'docker' # why\n]\n")
    with pytest.raises(SettingsError, match=r"set core\.disabled_plugins = \['claude', 'docker', 'mock'\] there"):
        toggle(path, "mock", on=False)
    assert path.read_text() == text


def test_the_file_keeps_its_mode_and_a_link_stays_a_link(tmp_path):
    path, link = tmp_path / "kept.toml", tmp_path / "nanoclaw.toml"
    path.write_text("[core]\n")
    path.chmod(0o600)
    link.symlink_to(path)
    assert toggle(link, "mock", on=False)
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(one.name for one in tmp_path.iterdir()) == ["kept.toml", "nanoclaw.toml"]


@pytest.mark.parametrize(
    "text", ["no toml", "core = 1", "[core]\ndisabled_plugins = 'mock'", "[core]\ndisabled_plugins = [1]", "a = \x00"]
)
def test_a_file_that_is_not_what_it_should_be_is_refused_and_stays(tmp_path, text):
    path = tmp_path / "nanoclaw.toml"
    path.write_text(text)
    with pytest.raises(SettingsError):
        toggle(path, "mock", on=False)
    assert path.read_text() == text


def test_a_required_plugin_can_be_enabled(tmp_path):
    path = tmp_path / "nanoclaw.toml"
    path.write_text('[core]\nrequired_plugins = ["mock"]\ndisabled_plugins = ["mock"]\n')
    assert toggle(path, "mock", on=True)
    with pytest.raises(Forbidden):
        toggle(path, "mock", on=False)
