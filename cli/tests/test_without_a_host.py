"""What `ncl` does where no host runs."""

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
    """An installed plugin that cannot be imported, as an environment for `ncl`."""
    metadata = tmp_path / "site" / "nanoclaw_channel_broken-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: nanoclaw-channel-broken\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[nanoclaw]\nbroken = nanoclaw_channel_broken.host\n")
    return {"PYTHONPATH": str(tmp_path / "site")}


def test_a_verb_exits_2_and_says_how_to_start_a_host(home):
    done = ncl(home, "groups", "list")
    assert (done.returncode, done.stdout) == (2, "")
    why = f"ncl itself has no command 'groups', and no host runs on {home}; start one with `ncl --home {home} serve`"
    assert done.stderr == f"error (transport-error): {why}\n"


def test_a_verb_with_json_answers_with_a_frame_on_stdout(home):
    done = ncl(home, "groups", "list", "--json")
    assert (done.returncode, done.stderr) == (2, "")
    assert json.loads(done.stdout)["error"]["code"] == "transport-error"


def test_an_option_before_the_command_that_there_is_not_is_said_with_the_nearest(home):
    done = ncl(home, "--frob")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error (invalid-args): --frob is no option of ncl; `ncl help` lists what there is\n"
    assert "--hme is no option of ncl; did you mean --home?" in ncl(home, "--hme=x", "status").stderr


def test_a_mistyped_local_command_is_recognised(home):
    assert "did you mean `ncl doctor`?" in ncl(home, "docotr").stderr


def test_an_unknown_flag_of_a_local_command_names_the_nearest_one(home):
    done = ncl(home, "logs", "--folow")
    assert done.returncode == 2
    assert "No such option '--folow'" in done.stderr
    assert "--follow" in done.stderr


def test_status_exits_1_and_says_what_to_do(home):
    done = ncl(home, "status")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == f"no host runs on {home}, which does not exist yet; start with `ncl --home {home} init`\n"


def test_a_home_that_is_a_file_is_said(home):
    home.write_text("")
    done = ncl(home, "status")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error (transport-error): {home} is a file; name an instance directory with --home\n"


def test_a_group_of_commands_without_one_of_them_says_which_there_are(home):
    done = ncl(home, "image")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error (invalid-args): It needs a subcommand: build, show. See `ncl image --help`.\n"


def test_status_as_json_says_that_it_is_stopped(home):
    assert json.loads(ncl(home, "status", "--json").stdout)["data"]["state"] == "stopped"


def test_init_says_what_it_made_and_the_second_time_changes_nothing(home):
    first, second = ncl(home, "init"), ncl(home, "init")
    assert (first.returncode, second.returncode) == (0, 0)
    assert first.stdout.startswith(f"made in {home}:\n")
    assert first.stdout.endswith(f"go on with `ncl --home {home} chat`, or with `ncl --home {home} serve`\n")
    assert second.stdout == f"{home} is complete already; nothing was changed\n"


def test_doctor_works_with_nothing_there(home):
    done = ncl(home, "doctor")
    assert done.returncode in (0, 1)
    assert (done.stderr, "home" in done.stdout) == ("", True)


def test_doctor_names_a_broken_plugin_with_its_distribution(home, broken_plugin):
    ncl(home, "init")
    done = ncl(home, "doctor", "--json", environment=broken_plugin)
    findings = json.loads(done.stdout)["data"]
    (finding,) = [finding for finding in findings if finding["name"] == "broken"]
    assert (done.stderr, finding["state"]) == ("", "problem")
    assert "nanoclaw-channel-broken 1.0" in finding["detail"]


def test_doctor_exits_1_only_where_something_is_a_problem(home, broken_plugin):
    ncl(home, "init")
    assert [ncl(home, "doctor").returncode, ncl(home, "doctor", environment=broken_plugin).returncode] == [0, 1]


def test_the_plugins_are_listed_also_with_a_broken_one(home, broken_plugin):
    done = ncl(home, "plugins", "list", environment=broken_plugin)
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("broken")]
    assert line.split()[1] == "failed"
    assert "ModuleNotFoundError" in line


def test_a_plugin_whose_settings_do_not_fit_is_listed_as_failed_with_what_does_not_fit(home):
    home.mkdir()
    (home / "nanoclaw.toml").write_text("[plugins.mock]\nech = true\n")
    plugins = {one["name"]: one for one in json.loads(ncl(home, "plugins", "--json").stdout)["data"]}
    assert (plugins["mock"]["state"], plugins["terminal"]["state"]) == ("failed", "active")
    assert plugins["mock"]["reason"].startswith("[plugins.mock]: unknown key 'ech'")


def test_the_plugins_are_listed_also_with_settings_that_do_not_fit(home):
    home.mkdir()
    (home / "nanoclaw.toml").write_text("this is no toml")
    done = ncl(home, "plugins")
    assert done.returncode == 0
    assert done.stderr.startswith("warning: ")
    assert "terminal" in done.stdout


def test_logs_without_a_log_say_who_writes_one(home):
    done = ncl(home, "logs")
    assert done.returncode == 1
    assert done.stderr.startswith("error (not-found): there is no log yet")


def test_logs_show_the_end(home):
    (home / "logs").mkdir(parents=True)
    (home / "logs" / "nanoclaw.log").write_text("".join(f"line {number} {'x' * 100}\n" for number in range(5_000)))
    lines = ncl(home, "logs", "-n", "2").stdout.splitlines()
    assert [line.split()[1] for line in lines] == ["4998", "4999"]


def test_help_says_what_there_is_and_how_to_get_more(home):
    done = ncl(home, "--help")
    assert done.returncode == 0
    assert all(f"\n  {name} " in done.stdout for name in ("init", "serve", "status", "doctor", "chat"))
    assert f"start one with `ncl --home {home} serve`" in done.stdout


def test_a_home_that_cannot_be_written_is_one_message(tmp_path):
    (tmp_path / "file").write_text("")
    done = ncl(tmp_path / "file" / "home", "init")
    assert done.returncode == 1
    assert done.stderr.startswith("error (handler-error): ")
    assert "Traceback" not in done.stderr


def test_the_traceback_is_shown_to_whoever_asks_for_it(tmp_path):
    (tmp_path / "file").write_text("")
    done = ncl(tmp_path / "file" / "home", "init", environment={"NANOCLAW_DEBUG": "1"})
    assert "Traceback" in done.stderr
