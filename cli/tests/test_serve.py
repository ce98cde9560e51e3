"""`ncl serve` and commands against it: real processes, a real host."""

from __future__ import annotations

import json
import re
import resource
import signal
import socket
import time
from pathlib import Path

import pytest
from ncl_process import first_line, ncl, serving, stop


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def test_serve_ready_line_has_time_and_home(home):
    with serving(home) as process:
        line = first_line(process)
        stop(process)
    assert re.fullmatch(rf"ready in \d+\.\d\d s · home {re.escape(str(home))} · 1 channel · stop with ctrl-c\n", line)


def test_serve_ready_line_counts_failed_plugins(home):
    home.mkdir()
    (home / "nanoclaw.toml").write_text("[plugins.mock]\nech = true\n")
    with serving(home) as process:
        line = first_line(process)
        stop(process)
    assert f" · 1 plugin failed; `ncl --home {home} plugins` shows why · " in line


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_signal_stops_the_host_within_ten_seconds(home, number):
    with serving(home) as process:
        first_line(process)
        code, errors, seconds = stop(process, number)
    assert (code, seconds < 10) == (0, True)
    assert re.search(r"^stopped in \d+\.\d\d s$", errors, re.MULTILINE)
    assert [path.name for path in (home / "run").glob("*.sock")] == []


def test_serve_stops_in_time_with_a_hanging_engine(home, tmp_path):
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(tmp_path / "docker.sock"))
        engine.listen()
        engine.settimeout(30)
        with serving(home, DOCKER_HOST=f"unix://{tmp_path}/docker.sock") as process:
            first_line(process)
            waiting = [engine.accept()[0] for _ in range(2)]  # a probe, and a request that gets no answer
            code, _, seconds = stop(process)
        for connection in waiting:
            connection.close()
    assert (code, seconds < 10) == (0, True)


def test_serve_counts_starts_until_an_orderly_stop(home):
    record = home / "data" / "circuit-breaker.json"
    with serving(home) as process:
        first_line(process)
        process.kill()
        process.wait()
    with serving(home) as process:
        first_line(process)
        assert json.loads(record.read_text())["attempt"] == 2
        stop(process)
    assert not record.exists()


def test_serve_ctrl_c_during_the_start_delay_is_orderly(home):
    record = home / "data" / "circuit-breaker.json"
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"attempt": 5, "timestamp": time.time()}))
    with serving(home) as process:
        assert process.stderr is not None
        assert "start delayed after repeated starts" in process.stderr.readline()
        assert json.loads(record.read_text())["attempt"] == 6
        code, errors, _ = stop(process, signal.SIGINT)
    assert (code, "stopped in" in errors, record.exists()) == (0, True, False)


def test_serve_logs_to_stderr_and_to_the_file(home):
    with serving(home) as process:
        first_line(process)
        _, errors, _ = stop(process)
    assert "nanoclaw_core.host host ready" in errors
    assert '"logger": "nanoclaw_core.host", "event": "host ready"' in (home / "logs" / "nanoclaw.log").read_text()


def test_serve_without_plugins_names_missing_kinds(home):
    home.mkdir()
    names = ["claude", "docker", "gateway", "mock", "process", "terminal"]
    (home / "nanoclaw.toml").write_text(f"[core]\ndisabled_plugins = {names}\n")
    with serving(home) as process:
        line = first_line(process)
        _, errors, _ = stop(process)
    assert " · 0 channels · " in line
    missing = "channel, provider, sandbox runtime, model gateway"
    assert f"missing: {missing}. `ncl --home {home} doctor` shows what to do.\n" in errors


def test_status_shows_times_with_their_unit(home):
    with serving(home) as process:
        first_line(process)
        status = ncl(home, "status").stdout
        stop(process)
    assert re.search(r"^started in +\d+\.\d\d s$", status, re.MULTILINE)


@pytest.mark.invariant(number=11)
def test_serve_second_host_on_the_directory_exits_1(home):
    with serving(home) as process:
        first_line(process)
        second = ncl(home, "serve")
        stop(process)
    assert second.returncode == 1
    assert "another host" in second.stderr
    assert "Traceback" not in second.stderr


def test_serve_without_an_instance_names_init(home):
    done = ncl(home, "serve")
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr
        == f"error (handler-error): there is no instance in {home}. Create one with `ncl --home {home} init`.\n"
    )


def test_serve_invalid_settings_are_one_message(home):
    ncl(home, "init")
    (home / "nanoclaw.toml").write_text("[core]\nprovidr = 'mock'\n")
    done = ncl(home, "serve")
    assert done.returncode == 1
    assert "core.providr: unknown key. Did you mean 'provider'?" in done.stderr
    assert "Traceback" not in done.stderr


def test_serve_raises_the_limit_of_open_files(home):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with serving(home) as process:
        first_line(process)
        assert resource.prlimit(process.pid, resource.RLIMIT_NOFILE) == (hard, hard)
        stop(process)


def test_status_shows_the_running_host(home):
    with serving(home) as process:
        first_line(process)
        shown, frame = ncl(home, "status"), ncl(home, "status", "--json")
        stop(process)
    assert (shown.returncode, frame.returncode) == (0, 0)
    assert re.search(r"^state +running$", shown.stdout, re.MULTILINE)
    assert json.loads(frame.stdout)["data"]["channels"] == ["terminal"]


def test_help_lists_the_verbs_of_the_host(home):
    with serving(home) as process:
        first_line(process)
        shown = ncl(home, "help").stdout
        stop(process)
    assert re.search(r"^  plugins list +", shown, re.MULTILINE)
    assert re.findall(r"^ *(status|help) ", shown, re.MULTILINE) == ["status", "help"]


def test_unknown_verb_exits_2_with_one_suggestion(home):
    with serving(home) as process:
        first_line(process)
        done, frame = ncl(home, "stauts"), ncl(home, "stauts", "--json")
        words, asked = ncl(home, "plugin", "list"), ncl(home, "help", "stauts")
        stop(process)
    assert [process.returncode for process in (done, frame, words, asked)] == [2, 2, 2, 2]
    why = "error (unknown-command): there is no command"
    assert (done.stdout, done.stderr) == ("", f"{why} 'stauts'. Did you mean `ncl status`?\n")
    assert words.stderr == f"{why} 'plugin list'. Did you mean `plugins list`?\n"
    assert asked.stderr == f"{why} 'stauts'. Did you mean `status`?\n"
    assert json.loads(frame.stdout)["error"]["code"] == "unknown-command"


def test_verb_with_an_unexpected_word_exits_2(home):
    with serving(home) as process:
        first_line(process)
        done = ncl(home, "--", "status", "more")
        stop(process)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error (invalid-args): status: unexpected argument 'more'\n"


def test_control_socket_is_private_to_its_owner(home):
    with serving(home) as process:
        first_line(process)
        mode = (home / "run" / "ncl.sock").stat().st_mode & 0o777
        stop(process)
    assert mode == 0o600


def test_help_of_a_resource_shows_each_parameter(home):
    with serving(home) as process:
        first_line(process)
        shown, same = ncl(home, "help", "wirings"), ncl(home, "wirings", "--help")
        stop(process)
    assert shown.returncode == 0
    assert shown.stdout == same.stdout
    assert "ncl wirings create --messaging-group-id TEXT --agent-group-id TEXT [options]\n" in shown.stdout
    assert re.search(r"^ +--priority NUMBER +\S", shown.stdout, re.MULTILINE)
    assert "ncl wirings get <id>\n" in shown.stdout
