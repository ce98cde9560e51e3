"""First use with everything wrong, with the real program: one message with cause and remedy, and never a traceback.

A Python that is too old is met by the launcher; `tests/contract/test_launcher.py` has that.
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

from nanoclaw_core.sandboxes.notices import WHERE
from nanoclaw_core.testing.fake_messages_api import serve_in_thread
from nanoclaw_core.testing.messages_script import Step

KEY = "sk-ant-api03-this-must-stay-on-the-host"
POWERLESS = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()
PATIENCE_S = 180.0
CONFUSING = ("ANTHROPIC_", "CLAUDE_CODE_OAUTH_TOKEN", "DOCKER_HOST", "NANOCLAW_")
NO_ENGINE = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}
NO_BUBBLEWRAP = '[plugins.process]\nbubblewrap = "no-such-program"\n'
PROCESS_ONLY = '[core]\nruntime = "process"\n'

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do this")


@frozen(kw_only=True)
class Said:
    """What a program said and how it ended."""

    code: int
    out: str
    errors: str


@frozen(kw_only=True)
class Person:
    """Somebody who types `ncl …`.

    Args:
        home: Their instance directory.
        environment: What they have set, beside what every shell has.
        is_powerless: True makes root meet the rights of files as everybody does.
    """

    home: Path
    environment: Mapping[str, str] = field(factory=dict)
    is_powerless: bool = False

    def types(self, *words: str) -> Said:
        """Run a command to its end."""
        done = subprocess.run(
            [
                *(POWERLESS if self.is_powerless else ()),
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
        return Said(code=done.returncode, out=done.stdout, errors=done.stderr)

    def asks(self, *words: str) -> Said:
        """Type `ncl chat`."""
        return self.types("chat", *(words or ("hello",)))

    def variables(self) -> dict[str, str]:
        """Return the environment, without what this machine's own says about models, engines and instances."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(CONFUSING)}
        return kept | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"} | dict(self.environment)

    def has(self, settings: str = "") -> Person:
        """Make their instance, with settings."""
        assert self.types("init").code == 0
        (self.home / "nanoclaw.toml").write_text(settings, encoding="utf-8")
        return self


def one_message(said: Said, *, code: int, words: Sequence[str]) -> None:
    """Insist on an exit code, and on one line on stderr that says all these words."""
    assert said.code == code
    assert said.out == ""
    (line,) = said.errors.splitlines()
    assert line.startswith("error (")
    assert [word for word in words if word not in line] == []


def no_answer(said: Said, *words: str, before: Sequence[str] = ()) -> None:
    """Insist that the chat was told, in one line with all these words, why there is no answer.

    Args:
        before: How the lines begin that were said before.
    """
    assert (said.code, said.out) == (1, "")
    *earlier, line = said.errors.splitlines()
    assert [word for word in words if word not in line] == []
    assert [text[: len(start)] for text, start in zip(earlier, before, strict=True)] == list(before)


def no_agent(person: Person, *words: str) -> None:
    """Insist that the chat reads plain words and a reference, under which the log says all these words."""
    said = person.asks()
    no_answer(said, "The agent cannot be started right now. Your message is kept", WHERE)
    reference = said.errors.rpartition(f"{WHERE} ")[2].strip().rstrip(".")
    log = (person.home / "logs" / "nanoclaw.log").read_text(encoding="utf-8")
    (line,) = [one for one in log.splitlines() if f"correlation={reference}" in one and " message waits " in one]
    assert [word for word in words if json.dumps(word)[1:-1] not in line] == []


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory with a short name, unlike pytest's own: the path of a socket has to fit into 108 bytes."""
    path = Path(tempfile.mkdtemp())
    yield path
    shutil.rmtree(path)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


# No wall, no engine, no image, no gateway, no key


def test_no_docker_and_no_bubblewrap_with_a_key_is_answered_with_what_to_install(home: Path) -> None:
    person = Person(home=home, environment={**NO_ENGINE, "ANTHROPIC_API_KEY": KEY}).has(NO_BUBBLEWRAP)
    no_agent(person, "no Docker engine at unix:///nowhere/docker.sock", "apt install bubblewrap")
    doctor = person.types("doctor")
    assert doctor.code == 1
    assert re.search(r"^warning +runtimes +process .*\n +→ Install bubblewrap", doctor.out, re.MULTILINE)
    assert re.search(r"^problem +runtimes +isolation .*\n +→ Fix one of the runtimes above", doctor.out, re.MULTILINE)


def test_no_docker_and_no_bubblewrap_without_a_key_still_answers(home: Path) -> None:
    said = Person(home=home, environment=NO_ENGINE).has(NO_BUBBLEWRAP).asks()
    assert said.code == 0
    assert "No language model is configured" in said.out
    assert "set ANTHROPIC_API_KEY" in said.out


def test_an_engine_that_the_user_may_not_use_is_answered_with_the_group_to_join(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(place / "docker.sock"))
        engine.listen()
        (place / "docker.sock").chmod(0)
        environment = {"DOCKER_HOST": f"unix://{place}/docker.sock", "ANTHROPIC_API_KEY": KEY}
        person = Person(home=place / "home", environment=environment, is_powerless=True).has(NO_BUBBLEWRAP)
        no_agent(person, "may not use the Docker engine", "sudo usermod -aG docker $USER")


@pytest.mark.docker
def test_a_missing_image_is_answered_with_the_command_that_builds_it(home: Path, docker_address: str) -> None:
    environment = {"DOCKER_HOST": docker_address, "ANTHROPIC_API_KEY": KEY}
    person = Person(home=home, environment=environment).has('[core]\nruntime = "docker"\n')
    no_agent(person, "image", "is missing", "ncl image build")


def test_a_gateway_that_is_disabled_is_answered_with_how_to_enable_it(home: Path) -> None:
    settings = '[core]\ndisabled_plugins = ["gateway", "docker"]\n[plugins.process]\nallow_unsandboxed = true\n'
    person = Person(home=home, environment={"ANTHROPIC_API_KEY": KEY}).has(settings)
    no_agent(person, "needs the model gateway", 'Take "gateway" out of disabled_plugins')
    assert "Remove it from core.disabled_plugins." in person.types("doctor").out


def test_a_chosen_provider_without_a_key_is_answered_with_the_variable_to_set(home: Path) -> None:
    person = Person(home=home).has('[core]\nprovider = "claude"\nfallback_provider = ""\n')
    no_agent(person, "no model key", "set ANTHROPIC_API_KEY", "restart the host")


# The model


@pytest.mark.bubblewrap
def test_a_wrong_key_is_answered_in_plain_words(home: Path, bubblewrap: None) -> None:
    with serve_in_thread(key="another key") as api:
        environment = {"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": api.url}
        said = Person(home=home, environment=environment).has(PROCESS_ONLY).asks()
    no_answer(said, "my access to the language model was refused", "check the model key", "Reference: ")
    assert KEY not in said.out


@pytest.mark.slow
@pytest.mark.bubblewrap
def test_an_overloaded_model_is_answered_in_plain_words(home: Path, bubblewrap: None) -> None:
    with serve_in_thread([Step(error=529, times=0)]) as api:
        environment = {"ANTHROPIC_API_KEY": api.key, "ANTHROPIC_BASE_URL": api.url}
        person = Person(home=home, environment=environment)
        said = person.has(f"{PROCESS_ONLY}[plugins.claude]\nmax_retries = 0\n").asks()
    meanwhile = "My language model is overloaded right now. I keep trying"
    no_answer(said, "my language model is overloaded", "try again in a few minutes", "Reference: ", before=[meanwhile])


@pytest.mark.slow
@pytest.mark.bubblewrap
def test_no_network_is_answered_in_plain_words(home: Path, bubblewrap: None) -> None:
    with socket.socket() as taken:  # bound and not listening: whoever connects is refused, and nobody else gets it
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        person = Person(home=home, environment={"ANTHROPIC_API_KEY": KEY, "ANTHROPIC_BASE_URL": url})
        said = person.has(PROCESS_ONLY).asks()
    meanwhile = "I can't reach my language model right now. I keep trying"
    no_answer(said, "I can't reach my language model", "try again in a few minutes", "Reference: ", before=[meanwhile])


# The disk and its rights


@contextlib.contextmanager
def small_disk(path: Path, size: str) -> Iterator[Path]:
    """Mount a disk of this size; skip where that is not allowed."""
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
def test_a_disk_that_is_too_small_is_said(tmp_path: Path, words: Sequence[str]) -> None:
    with small_disk(tmp_path / "disk", "100k") as disk:
        said = Person(home=disk / "home", environment=NO_ENGINE).types(*words)
        assert said.code == 1
        assert re.search(r"full|No space left", said.errors)
        assert re.search(r"[Mm]ake space|disk is full", said.errors)
        assert said.errors.count("error (") == 1


@as_root
@pytest.mark.parametrize("words", [("serve",), ("chat", "hello"), ("init",)])
def test_a_disk_that_has_filled_up_is_said(tmp_path: Path, words: Sequence[str]) -> None:
    with small_disk(tmp_path / "disk", "3m") as disk:
        person = Person(home=disk / "home", environment=NO_ENGINE).has()
        fill(disk / "filling")
        one_message(person.types(*words), code=1, words=["disk"])


def fill(path: Path) -> None:
    """Write a file until nothing more fits."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(bytes(1_000)):
            pass


@contextlib.contextmanager
def closed(path: Path, mode: int) -> Iterator[None]:
    """Take rights away from a directory, as long as this lasts."""
    path.chmod(mode)
    try:
        yield
    finally:
        path.chmod(0o700)


@pytest.mark.parametrize("words", [("init",), ("chat", "hello")])
def test_a_home_that_cannot_be_made_is_said(tmp_path: Path, words: Sequence[str]) -> None:
    with closed(tmp_path, 0o500):
        said = Person(home=tmp_path / "home", is_powerless=True).types(*words)
    one_message(said, code=1, words=["Permission denied", str(tmp_path / "home"), "--home"])


@pytest.mark.parametrize(
    ("words", "code"), [(("init",), 1), (("serve",), 1), (("chat", "hello"), 2), (("status",), 2), (("logs",), 1)]
)
def test_a_home_that_one_may_not_look_into_is_said(home: Path, words: Sequence[str], code: int) -> None:
    person = Person(home=home, is_powerless=True).has()
    with closed(home, 0):
        said = person.types(*words)
    one_message(said, code=code, words=["ermission denied", str(home)])
    assert re.search(r"is it another user's\?|mend .*permissions", said.errors, re.IGNORECASE)


@pytest.mark.parametrize("words", [("serve",), ("chat", "hello"), ("init",)])
def test_a_home_that_can_only_be_read_is_said(home: Path, words: Sequence[str]) -> None:
    person = Person(home=home, environment=NO_ENGINE, is_powerless=True).has()
    with closed(home / "data", 0o500), closed(home / "run", 0o500), closed(home, 0o500):
        said = person.types(*words)
    assert said.code == 1
    assert said.errors.count("error (") == 1
    assert str(home) in said.errors


@pytest.mark.parametrize("name", ["data", "run", "logs", "groups", "sessions"])
def test_a_directory_that_can_only_be_read_is_said_by_the_doctor(home: Path, name: str) -> None:
    person = Person(home=home, environment=NO_ENGINE, is_powerless=True).has()
    (home / name).mkdir(exist_ok=True)
    with closed(home / name, 0o500):
        doctor = person.types("doctor")
    assert doctor.code == 1
    assert f"not writable: {home / name}\n" in doctor.out


def test_a_database_that_can_only_be_read_is_said_by_the_doctor(home: Path) -> None:
    person = Person(home=home, environment=NO_ENGINE, is_powerless=True).has()
    (home / "data" / "nanoclaw.db").chmod(0o400)
    doctor = person.types("doctor")
    assert doctor.code == 1
    assert "nanoclaw.db is not writable" in doctor.out


@pytest.mark.parametrize("name", ["", "run", "data"])
def test_a_file_where_a_directory_should_be_is_said(home: Path, name: str) -> None:
    (home / name).parent.mkdir(exist_ok=True)
    (home / name).write_text("")
    person = Person(home=home, environment=NO_ENGINE)
    one_message(person.asks(), code=1, words=["File exists" if not name else str(home / name), "--home"])
    doctor = person.types("doctor")
    assert doctor.code == 1
    assert re.search(r"is a file, not a directory\n +→ Move it away\.", doctor.out)


def test_a_damaged_database_is_said(home: Path) -> None:
    person = Person(home=home, environment=NO_ENGINE).has()
    for path in (home / "data").glob("nanoclaw.db*"):
        path.unlink()
    (home / "data" / "nanoclaw.db").write_text("no database at all")
    one_message(person.asks(), code=1, words=["nanoclaw.db", "not a database", "backup"])


# The sockets


def leave_a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))


def leave_a_file(path: Path) -> None:
    path.write_text("")


@pytest.mark.parametrize("leave", [leave_a_socket, leave_a_file])
def test_what_a_dead_host_left_is_replaced(place: Path, leave: object) -> None:
    person = Person(home=place / "home", environment=NO_ENGINE).has()
    for name in ("ncl.sock", "terminal.sock"):
        leave(person.home / "run" / name)  # type: ignore[operator]
    status = person.types("status")
    assert (status.code, status.errors) == (1, "")
    assert "no host runs" in status.out
    assert person.asks().code == 0


def test_a_directory_where_the_control_socket_goes_is_said(home: Path) -> None:
    person = Person(home=home, environment=NO_ENGINE).has()
    (home / "run" / "ncl.sock").mkdir()
    one_message(person.asks(), code=1, words=[str(home / "run" / "ncl.sock"), "move it away"])


def test_a_directory_where_the_terminals_socket_goes_is_said(home: Path) -> None:
    person = Person(home=home, environment=NO_ENGINE).has()
    (home / "run" / "terminal.sock").mkdir()
    one_message(person.asks(), code=2, words=["it has no terminal", "`ncl logs` say why"])
    assert str(home / "run" / "terminal.sock") in (home / "logs" / "nanoclaw.log").read_text(encoding="utf-8")


# Settings and plugins


@pytest.mark.parametrize("words", [("init",), ("serve",), ("chat", "hello")])
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ('[core]\nprovidr = "mock"\n', "did you mean 'provider'?"),
        ("[core]\nmax_sandboxes = 0\n", "max_sandboxes"),
        ('[plugin.mock]\nscript = ""\n', "did you mean 'plugins'?"),
        ("this is no toml", "Mend the file"),
    ],
)
def test_a_typo_in_the_settings_is_said(home: Path, words: Sequence[str], settings: str, expected: str) -> None:
    person = Person(home=home).has(settings)
    one_message(person.types(*words), code=1, words=["nanoclaw.toml", expected])


def test_a_typo_in_a_plugins_table_is_said_beside_the_answer(home: Path) -> None:
    said = Person(home=home, environment=NO_ENGINE).has('[plugins.claude]\nmodle = "opus"\n').asks()
    assert said.code == 0
    (line,) = said.errors.splitlines()
    assert "unknown key 'modle'" in line


def test_a_table_for_no_plugin_is_said_by_the_doctor(home: Path) -> None:
    doctor = Person(home=home, environment=NO_ENGINE).has("[plugins.mok]\necho = true\n").types("doctor")
    assert re.search(r"\[plugins\.mok\].*\n +→ Did you mean \[plugins\.mock\]\?", doctor.out)


@pytest.fixture
def broken_plugin(tmp_path: Path) -> dict[str, str]:
    """An installed plugin that cannot be imported, as an environment for `ncl`."""
    metadata = tmp_path / "site" / "nanoclaw_channel_broken-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: nanoclaw-channel-broken\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[nanoclaw]\nbroken = nanoclaw_channel_broken.host\n")
    return {"PYTHONPATH": str(tmp_path / "site")}


def test_a_broken_plugin_is_said_beside_the_answer(home: Path, broken_plugin: dict[str, str]) -> None:
    said = Person(home=home, environment=NO_ENGINE | broken_plugin).has().asks()
    assert said.code == 0
    assert "said: hello" in said.out
    (line,) = said.errors.splitlines()
    assert "broken" in line
    assert "No module named 'nanoclaw_channel_broken'" in line


def test_a_broken_plugin_that_is_required_stops_the_start(home: Path, broken_plugin: dict[str, str]) -> None:
    person = Person(home=home, environment=broken_plugin).has('[core]\nrequired_plugins = ["broken"]\n')
    said = person.types("serve")
    assert said.code == 1
    last = said.errors.splitlines()[-1]
    assert last.startswith("error (")
    assert "broken" in last
