"""`ncl` without a running host."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ncl_process import ncl


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def broken_plugin(tmp_path: Path) -> dict[str, str]:
    """Install a plugin that cannot be imported; return the environment for `ncl`."""
    metadata = tmp_path / "site" / "nanoclaw_channel_broken-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: nanoclaw-channel-broken\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[nanoclaw]\nbroken = nanoclaw_channel_broken.host\n")
    return {"PYTHONPATH": str(tmp_path / "site")}


def test_verb_without_a_host_exits_2_and_names_serve(home):
    done = ncl(home, "groups", "list")
    assert (done.returncode, done.stdout) == (2, "")
    message = (
        f"ncl has no local command 'groups', and no host runs on {home}. Start one with `ncl --home {home} serve`."
    )
    assert done.stderr == f"error (transport-error): {message}\n"


def test_verb_without_a_host_as_json_prints_a_frame(home):
    done = ncl(home, "groups", "list", "--json")
    assert (done.returncode, done.stderr) == (2, "")
    assert json.loads(done.stdout)["error"]["code"] == "transport-error"


def test_unknown_option_before_the_command_is_refused(home):
    done = ncl(home, "--frob")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error (invalid-args): --frob: unknown option. `ncl help` lists the options.\n"
    assert "--hme: unknown option. Did you mean --home?" in ncl(home, "--hme=x", "status").stderr


def test_mistyped_local_command_gets_a_suggestion(home):
    assert "Did you mean `ncl doctor`?" in ncl(home, "docotr").stderr


def test_unknown_flag_of_a_local_command_is_refused(home):
    done = ncl(home, "logs", "--folow")
    assert done.returncode == 2
    assert "No such option '--folow'" in done.stderr
    assert "--follow" in done.stderr


def test_status_without_a_host_exits_1_and_names_init(home):
    done = ncl(home, "status")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == f"no host runs on {home}, which does not exist yet. Run `ncl --home {home} init`.\n"


def test_status_refuses_a_home_that_is_a_file(home):
    home.write_text("")
    done = ncl(home, "status")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error (transport-error): {home} is a file. Name an instance directory with --home.\n"


def test_command_group_without_subcommand_lists_them(home):
    done = ncl(home, "image")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error (invalid-args): It needs a subcommand: build, show. See `ncl image --help`.\n"


def test_status_without_a_host_as_json_is_stopped(home):
    assert json.loads(ncl(home, "status", "--json").stdout)["data"]["state"] == "stopped"


def test_init_is_idempotent_and_lists_created_files(home):
    first, second = ncl(home, "init"), ncl(home, "init")
    assert (first.returncode, second.returncode) == (0, 0)
    assert first.stdout.startswith(f"created in {home}:\n")
    assert first.stdout.endswith(f"next: run `ncl --home {home} chat` or `ncl --home {home} serve`\n")
    assert second.stdout == f"{home} is already complete; nothing was changed\n"


def test_doctor_works_without_an_instance(home):
    done = ncl(home, "doctor")
    assert done.returncode in (0, 1)
    assert (done.stderr, "home" in done.stdout) == ("", True)


def test_doctor_names_distribution_of_a_broken_plugin(home, broken_plugin):
    ncl(home, "init")
    done = ncl(home, "doctor", "--json", environment=broken_plugin)
    findings = json.loads(done.stdout)["data"]
    (finding,) = [finding for finding in findings if finding["name"] == "broken"]
    assert (done.stderr, finding["state"]) == ("", "problem")
    assert "nanoclaw-channel-broken 1.0" in finding["detail"]


def test_doctor_exits_1_only_for_problems(home, broken_plugin):
    ncl(home, "init")
    assert [ncl(home, "doctor").returncode, ncl(home, "doctor", environment=broken_plugin).returncode] == [0, 1]


def test_plugins_list_includes_a_broken_plugin(home, broken_plugin):
    done = ncl(home, "plugins", "list", environment=broken_plugin)
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("broken")]
    assert line.split()[1] == "failed"
    assert "ModuleNotFoundError" in line


def test_plugins_list_shows_invalid_settings_as_failure(home):
    home.mkdir()
    (home / "nanoclaw.toml").write_text("[plugins.mock]\nech = true\n")
    plugins = {plugin["name"]: plugin for plugin in json.loads(ncl(home, "plugins", "--json").stdout)["data"]}
    assert (plugins["mock"]["state"], plugins["terminal"]["state"]) == ("failed", "active")
    assert plugins["mock"]["reason"].startswith("plugins.mock.ech: unknown key")


def test_plugins_list_works_with_an_unreadable_file(home):
    home.mkdir()
    (home / "nanoclaw.toml").write_text("this is no toml")
    done = ncl(home, "plugins")
    assert done.returncode == 0
    assert done.stderr.startswith("warning: ")
    assert "terminal" in done.stdout


def test_logs_without_a_log_fail_with_a_remedy(home):
    done = ncl(home, "logs")
    assert done.returncode == 1
    assert done.stderr.startswith("error (not-found): there is no log yet")


def test_logs_show_the_last_lines(home):
    (home / "logs").mkdir(parents=True)
    (home / "logs" / "nanoclaw.log").write_text("".join(f"line {number} {'x' * 100}\n" for number in range(5_000)))
    lines = ncl(home, "logs", "-n", "2").stdout.splitlines()
    assert [line.split()[1] for line in lines] == ["4998", "4999"]


def test_help_lists_local_commands_and_names_serve(home):
    done = ncl(home, "--help")
    assert done.returncode == 0
    assert all(f"\n  {name} " in done.stdout for name in ("init", "serve", "status", "doctor", "chat"))
    assert f"Start one with `ncl --home {home} serve`." in done.stdout


def test_init_unwritable_home_is_one_message(tmp_path):
    (tmp_path / "file").write_text("")
    done = ncl(tmp_path / "file" / "home", "init")
    assert done.returncode == 1
    assert done.stderr.startswith("error (handler-error): ")
    assert "Traceback" not in done.stderr


def test_debug_variable_prints_the_traceback(tmp_path):
    (tmp_path / "file").write_text("")
    done = ncl(tmp_path / "file" / "home", "init", environment={"NANOCLAW_DEBUG": "1"})
    assert "Traceback" in done.stderr
