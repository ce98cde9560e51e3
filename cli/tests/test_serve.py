"""`ncl serve`, and what asks it: real processes, a real host."""

from __future__ import annotations

import json
import re
import resource
import signal
import socket
import time
from pathlib import Path

import pytest
from ncl_process import end, first_line, ncl, serving


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def test_a_ready_line_says_how_long_it_took_and_where(home):
    with serving(home) as process:
        line = first_line(process)
        end(process)
    assert re.fullmatch(rf"ready in \d+\.\d\d s · home {re.escape(str(home))} · 1 channel · stop with ctrl-c\n", line)


def test_a_ready_line_says_how_many_plugins_failed_and_who_says_why(home):
    home.mkdir()
    (home / "nanoclaw.toml").write_text("[plugins.mock]\nech = true\n")
    with serving(home) as process:
        line = first_line(process)
        end(process)
    assert f" · 1 plugin failed; `ncl --home {home} plugins` says why · " in line


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_everything_in_order_within_ten_seconds(home, number):
    with serving(home) as process:
        first_line(process)
        code, errors, seconds = end(process, number)
    assert (code, seconds < 10) == (0, True)
    assert re.search(r"^stopped in \d+\.\d\d s$", errors, re.MULTILINE)
    assert [path.name for path in (home / "run").glob("*.sock")] == []


def test_an_engine_that_hangs_does_not_hold_up_the_end_of_the_process(home, tmp_path):
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(tmp_path / "docker.sock"))
        engine.listen()
        engine.settimeout(30)
        with serving(home, DOCKER_HOST=f"unix://{tmp_path}/docker.sock") as process:
            first_line(process)
            waiting = [engine.accept()[0] for _ in range(2)]  # a knock, and a question that is never answered
            code, _, seconds = end(process)
        for connection in waiting:
            connection.close()
    assert (code, seconds < 10) == (0, True)


def test_starts_are_counted_until_a_stop_in_order(home):
    counted = home / "data" / "circuit-breaker.json"
    with serving(home) as process:
        first_line(process)
        process.kill()
        process.wait()
    with serving(home) as process:
        first_line(process)
        assert json.loads(counted.read_text())["attempt"] == 2
        end(process)
    assert not counted.exists()


def test_ctrl_c_in_the_wait_after_starts_in_quick_succession_is_a_stop_in_order(home):
    counted = home / "data" / "circuit-breaker.json"
    counted.parent.mkdir(parents=True)
    counted.write_text(json.dumps({"attempt": 5, "timestamp": time.time()}))
    with serving(home) as process:
        assert process.stderr is not None
        assert "starting late" in process.stderr.readline()
        assert json.loads(counted.read_text())["attempt"] == 6
        code, errors, _ = end(process, signal.SIGINT)
    assert (code, "stopped in" in errors, counted.exists()) == (0, True, False)


def test_the_log_goes_to_stderr_and_to_the_file(home):
    with serving(home) as process:
        first_line(process)
        _, errors, _ = end(process)
    assert "nanoclaw_core.host host ready" in errors
    assert "nanoclaw_core.host host ready" in (home / "logs" / "nanoclaw.log").read_text()


def test_without_any_plugin_it_starts_and_says_what_is_missing(home):
    home.mkdir()
    names = ["claude", "docker", "gateway", "mock", "process", "terminal"]
    (home / "nanoclaw.toml").write_text(f"[core]\ndisabled_plugins = {names}\n")
    with serving(home) as process:
        line = first_line(process)
        _, errors, _ = end(process)
    assert " · 0 channels · " in line
    missing = "channel, provider, sandbox runtime, model gateway"
    assert f"missing: {missing}; `ncl --home {home} doctor` says what to do\n" in errors


def test_times_are_shown_with_their_unit(home):
    with serving(home) as process:
        first_line(process)
        status = ncl(home, "status").stdout
        end(process)
    assert re.search(r"^started in +\d+\.\d\d s$", status, re.MULTILINE)


def test_invariant_11_a_second_host_on_the_directory_exits_1_and_says_so(home):
    with serving(home) as process:
        first_line(process)
        second = ncl(home, "serve")
        end(process)
    assert second.returncode == 1
    assert "another host" in second.stderr
    assert "Traceback" not in second.stderr


def test_a_directory_without_an_instance_says_how_to_make_one(home):
    done = ncl(home, "serve")
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr
        == f"error (handler-error): there is no instance in {home}; make one with `ncl --home {home} init`\n"
    )


def test_settings_that_do_not_fit_stop_the_start_with_one_message(home):
    ncl(home, "init")
    (home / "nanoclaw.toml").write_text("[core]\nprovidr = 'mock'\n")
    done = ncl(home, "serve")
    assert done.returncode == 1
    assert "unknown key 'providr'; did you mean 'provider'?" in done.stderr
    assert "Traceback" not in done.stderr


def test_as_many_files_may_be_open_as_the_system_allows(home):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with serving(home) as process:
        first_line(process)
        assert resource.prlimit(process.pid, resource.RLIMIT_NOFILE) == (hard, hard)
        end(process)


def test_status_asks_the_host(home):
    with serving(home) as process:
        first_line(process)
        shown, frame = ncl(home, "status"), ncl(home, "status", "--json")
        end(process)
    assert (shown.returncode, frame.returncode) == (0, 0)
    assert re.search(r"^state +running$", shown.stdout, re.MULTILINE)
    assert json.loads(frame.stdout)["data"]["channels"] == ["terminal"]


def test_help_lists_the_verbs_of_the_host(home):
    with serving(home) as process:
        first_line(process)
        shown = ncl(home, "help").stdout
        end(process)
    assert re.search(r"^  plugins list +", shown, re.MULTILINE)
    assert re.findall(r"^ *(status|help) ", shown, re.MULTILINE) == ["status", "help"]


def test_a_verb_that_the_host_does_not_know_exits_2_and_names_the_nearest_command_once(home):
    with serving(home) as process:
        first_line(process)
        done, frame = ncl(home, "stauts"), ncl(home, "stauts", "--json")
        words, asked = ncl(home, "plugin", "list"), ncl(home, "help", "stauts")
        end(process)
    assert [one.returncode for one in (done, frame, words, asked)] == [2, 2, 2, 2]
    why = "error (unknown-command): there is no command"
    assert (done.stdout, done.stderr) == ("", f"{why} 'stauts'; did you mean `ncl status`?\n")
    assert words.stderr == f"{why} 'plugin list'; did you mean `plugins list`?\n"
    assert asked.stderr == f"{why} 'stauts'; did you mean `status`?\n"
    assert json.loads(frame.stdout)["error"]["code"] == "unknown-command"


def test_arguments_that_a_verb_does_not_take_exit_2(home):
    with serving(home) as process:
        first_line(process)
        done = ncl(home, "--", "status", "more")
        end(process)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error (invalid-args): status: 'more' is one word too many\n"


def test_the_control_socket_is_for_its_owner_alone(home):
    with serving(home) as process:
        first_line(process)
        mode = (home / "run" / "ncl.sock").stat().st_mode & 0o777
        end(process)
    assert mode == 0o600


def test_help_about_a_noun_tells_each_parameter_of_its_verbs(home):
    with serving(home) as process:
        first_line(process)
        shown, same = ncl(home, "help", "wirings"), ncl(home, "wirings", "--help")
        end(process)
    assert shown.returncode == 0
    assert shown.stdout == same.stdout
    assert "ncl wirings create --messaging-group-id TEXT --agent-group-id TEXT [options]\n" in shown.stdout
    assert re.search(r"^ +--priority NUMBER +the higher one is served first$", shown.stdout, re.MULTILINE)
    assert "ncl wirings get <id>\n" in shown.stdout
