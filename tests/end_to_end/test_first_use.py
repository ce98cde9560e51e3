"""First use with broken surroundings: the real program prints one message with cause and remedy, and no traceback.

`tests/contract/test_launcher.py` tests an outdated Python, which the launcher reports.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from attrs import field, frozen

from nanoclaw_core.sandboxes.notices import REFERENCE_HINT
from nanoclaw_core.testing.fake_messages_api import serve_in_thread
from nanoclaw_core.testing.messages_script import Step

KEY = "sk-ant-api03-this-must-stay-on-the-host"
UNPRIVILEGED = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()
PATIENCE_S = 180.0
REMOVED_VARIABLES = ("ANTHROPIC_", "CLAUDE_CODE_OAUTH_TOKEN", "DOCKER_HOST", "NANOCLAW_")
NO_ENGINE = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}
NO_BUBBLEWRAP = '[plugins.process]\nbubblewrap = "no-such-program"\n'
PROCESS_ONLY = '[core]\nruntime = "process"\n'

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do this")


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
    (line,) = [line for line in log.splitlines() if f"correlation={reference}" in line and " message waits " in line]
    assert [word for word in words if json.dumps(word)[1:-1] not in line] == []


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory with a short path, unlike pytest's own, because a socket's path has at most 108 bytes."""
    path = Path(tempfile.mkdtemp())
    yield path
    shutil.rmtree(path)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


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
        output = user.create(f"{PROCESS_ONLY}[plugins.claude]\nmax_retries = 0\n").chat()
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
        output = user.create(PROCESS_ONLY).chat()
    meanwhile = "I can't reach my language model right now. I keep trying"
    words = ("I can't reach my language model", "try again in a few minutes", "Reference: ")
    assert_no_answer(output, *words, before=[meanwhile])


# The disk and its rights


@contextlib.contextmanager
def small_disk(path: Path, size: str) -> Iterator[Path]:
    """Mount a disk of this size; skip the test if that is not allowed."""
    path.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", path], capture_output=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"cannot mount here: {done.stderr.decode().strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)


@as_root
@pytest.mark.parametrize("words", [("init",), ("chat", "hello")])
def test_too_small_disk_is_reported(tmp_path: Path, words: Sequence[str]) -> None:
    with small_disk(tmp_path / "disk", "100k") as disk:
        output = User(home=disk / "home", environment=NO_ENGINE).run(*words)
        assert output.code == 1
        assert re.search(r"full|No space left", output.stderr)
        assert re.search(r"[Mm]ake space|disk is full", output.stderr)
        assert output.stderr.count("error (") == 1


@as_root
@pytest.mark.parametrize("words", [("serve",), ("chat", "hello"), ("init",)])
def test_full_disk_is_reported(tmp_path: Path, words: Sequence[str]) -> None:
    with small_disk(tmp_path / "disk", "3m") as disk:
        user = User(home=disk / "home", environment=NO_ENGINE).create()
        fill(disk / "filling")
        assert_one_error(user.run(*words), code=1, words=["disk"])


def fill(path: Path) -> None:
    """Write to a file until the disk is full."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(bytes(1_000)):
            pass


@contextlib.contextmanager
def permissions(path: Path, mode: int) -> Iterator[None]:
    """Change a directory's permissions for the block."""
    path.chmod(mode)
    try:
        yield
    finally:
        path.chmod(0o700)


@pytest.mark.parametrize("words", [("init",), ("chat", "hello")])
def test_home_that_cannot_be_created_is_reported(tmp_path: Path, words: Sequence[str]) -> None:
    with permissions(tmp_path, 0o500):
        output = User(home=tmp_path / "home", is_unprivileged=True).run(*words)
    assert_one_error(output, code=1, words=["Permission denied", str(tmp_path / "home"), "--home"])


@pytest.mark.parametrize(
    ("words", "code"), [(("init",), 1), (("serve",), 1), (("chat", "hello"), 2), (("status",), 2), (("logs",), 1)]
)
def test_unreadable_home_is_reported(home: Path, words: Sequence[str], code: int) -> None:
    user = User(home=home, is_unprivileged=True).create()
    with permissions(home, 0):
        output = user.run(*words)
    assert_one_error(output, code=code, words=["ermission denied", str(home)])
    assert re.search(r"does it belong to another user\?|fix .*permissions", output.stderr, re.IGNORECASE)


@pytest.mark.parametrize("words", [("serve",), ("chat", "hello"), ("init",)])
def test_read_only_home_is_reported(home: Path, words: Sequence[str]) -> None:
    user = User(home=home, environment=NO_ENGINE, is_unprivileged=True).create()
    with permissions(home / "data", 0o500), permissions(home / "run", 0o500), permissions(home, 0o500):
        output = user.run(*words)
    assert output.code == 1
    assert output.stderr.count("error (") == 1
    assert str(home) in output.stderr


@pytest.mark.parametrize("name", ["data", "run", "logs", "groups", "sessions"])
def test_doctor_reports_a_read_only_directory(home: Path, name: str) -> None:
    user = User(home=home, environment=NO_ENGINE, is_unprivileged=True).create()
    (home / name).mkdir(exist_ok=True)
    with permissions(home / name, 0o500):
        doctor = user.run("doctor")
    assert doctor.code == 1
    assert f"not writable: {home / name}\n" in doctor.stdout


def test_doctor_reports_a_read_only_database(home: Path) -> None:
    user = User(home=home, environment=NO_ENGINE, is_unprivileged=True).create()
    (home / "data" / "nanoclaw.db").chmod(0o400)
    doctor = user.run("doctor")
    assert doctor.code == 1
    assert "nanoclaw.db is not writable" in doctor.stdout


@pytest.mark.parametrize("name", ["", "run", "data"])
def test_file_in_place_of_a_directory_is_reported(home: Path, name: str) -> None:
    (home / name).parent.mkdir(exist_ok=True)
    (home / name).write_text("")
    user = User(home=home, environment=NO_ENGINE)
    assert_one_error(user.chat(), code=1, words=["File exists" if not name else str(home / name), "--home"])
    doctor = user.run("doctor")
    assert doctor.code == 1
    assert re.search(r"is a file, not a directory\n +→ Move it away\.", doctor.stdout)


def test_damaged_database_is_reported(home: Path) -> None:
    user = User(home=home, environment=NO_ENGINE).create()
    for path in (home / "data").glob("nanoclaw.db*"):
        path.unlink()
    (home / "data" / "nanoclaw.db").write_text("no database at all")
    assert_one_error(user.chat(), code=1, words=["nanoclaw.db", "not a database", "backup"])


# The sockets


def leave_a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))


def leave_a_file(path: Path) -> None:
    path.write_text("")


@pytest.mark.parametrize("leave", [leave_a_socket, leave_a_file])
def test_leftover_sockets_are_replaced(place: Path, leave: object) -> None:
    user = User(home=place / "home", environment=NO_ENGINE).create()
    for name in ("ncl.sock", "terminal.sock"):
        leave(user.home / "run" / name)  # type: ignore[operator]
    status = user.run("status")
    assert (status.code, status.stderr) == (1, "")
    assert "no host runs" in status.stdout
    assert user.chat().code == 0


def test_directory_at_the_control_socket_is_reported(home: Path) -> None:
    user = User(home=home, environment=NO_ENGINE).create()
    (home / "run" / "ncl.sock").mkdir()
    assert_one_error(user.chat(), code=1, words=[str(home / "run" / "ncl.sock"), "Move that file away"])


def test_directory_at_the_terminal_socket_is_reported(home: Path) -> None:
    user = User(home=home, environment=NO_ENGINE).create()
    (home / "run" / "terminal.sock").mkdir()
    assert_one_error(user.chat(), code=2, words=["its terminal channel does not work", "`ncl logs` show why"])
    assert str(home / "run" / "terminal.sock") in (home / "logs" / "nanoclaw.log").read_text(encoding="utf-8")


# Settings and plugins


@pytest.mark.parametrize("words", [("init",), ("serve",), ("chat", "hello")])
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ('[core]\nprovidr = "mock"\n', "did you mean 'provider'?"),
        ("[core]\nmax_sandboxes = 0\n", "max_sandboxes"),
        ('[plugin.mock]\nscript = ""\n', "did you mean 'plugins'?"),
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
    assert "unknown key 'modle'" in line


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
