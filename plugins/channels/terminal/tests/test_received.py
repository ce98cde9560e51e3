"""Saved files from an agent: their directories, names and permissions."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys

import pytest
from nanoclaw_channel_terminal.display import save_files
from nanoclaw_channel_terminal.frames import TransferredFile
from nanoclaw_channel_terminal.received import ReceivedFiles

SESSION = "ses-0123456789ab"
FILE = TransferredFile(name="a.txt", content=b"theirs")
FRAME = {"session": SESSION, "files": [{"name": "a.txt", "content": "dGhlaXJz"}]}
WAIT_S = 60.0


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def received(tmp_path):
    return ReceivedFiles(home=tmp_path, save_to=None)


@pytest.fixture
def folder(tmp_path):
    """Create the directory of a session before a file arrives."""
    path = tmp_path / "received" / SESSION
    path.mkdir(parents=True)
    return path


@pytest.fixture
def open_umask():
    """Clear the umask, so that files get exactly the requested mode."""
    before = os.umask(0)
    yield
    os.umask(before)


def test_received_file_is_private_to_its_owner(received, tmp_path, open_umask):
    """No other user of the machine can read an agent's files, with any umask."""
    path = received.save(FILE, SESSION)
    assert path == tmp_path / "received" / SESSION / "a.txt"
    assert [mode(path), mode(path.parent), mode(path.parent.parent)] == [0o600, 0o700, 0o700]


def test_received_directory_that_is_open_gets_closed(received, folder):
    """An existing directory loses wider permissions before a file is written."""
    folder.chmod(0o755)
    folder.parent.chmod(0o777)
    received.save(FILE, SESSION)
    assert [mode(folder), mode(folder.parent)] == [0o700, 0o700]


@pytest.mark.parametrize("name", ["received", f"received/{SESSION}"])
def test_received_link_is_refused_and_not_followed(received, folder, tmp_path, name):
    """A link instead of a directory redirects no file, and the error names the remedy."""
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o755)
    (outside / SESSION).mkdir(mode=0o755)
    folder.rmdir()
    if name == "received":
        folder.parent.rmdir()
    (tmp_path / name).symlink_to(outside)
    (line,) = save_files(FRAME, received)
    assert line.startswith(f"could not save a.txt in {folder}: `{(tmp_path / name).name}` is a link or a file. Remove")
    assert [path.name for path in outside.rglob("*")] == [SESSION]
    assert [mode(outside), mode(outside / SESSION)] == [0o755, 0o755]


def test_received_file_in_place_of_directory_is_refused(received, tmp_path):
    """A plain file named `received` stays unchanged."""
    (tmp_path / "received").write_text("mine")
    (line,) = save_files(FRAME, received)
    assert "`received` is a link or a file. Remove it, or choose another directory with --save-to" in line
    assert (tmp_path / "received").read_text() == "mine"


def test_received_file_overwrites_nothing(received, folder):
    """A second file of the same name gets a number."""
    (folder / "a.txt").write_bytes(b"mine")
    saved = received.save(FILE, SESSION)
    assert (saved.name, saved.read_bytes(), (folder / "a.txt").read_bytes()) == ("a (2).txt", b"theirs", b"mine")


def test_received_file_is_not_written_through_a_link(received, folder, tmp_path):
    """A link with the file's name counts as an existing file."""
    (folder / "a.txt").symlink_to(tmp_path / "target")
    assert received.save(FILE, SESSION).name == "a (2).txt"
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize(
    ("sent", "saved"),
    [
        ("../../etc/passwd", "file"),
        ("/nowhere/passwd", "file"),
        ("..", "file"),
        ("", "file"),
        (".bashrc", "bashrc"),
        ("a\nb", "file"),
        ("CLAUDE.md", "CLAUDE.md"),
        ("json.py", "json.py"),
    ],
)
def test_received_unsafe_name_is_replaced_by_a_safe_one(received, folder, sent, saved):
    """No name leads out of the session's directory.

    Nothing runs there, so plain names stay.
    """
    path = received.save(TransferredFile(name=sent, content=b"x"), SESSION)
    assert (path.parent, path.name) == (folder, saved)


@pytest.mark.parametrize("session", [None, 7, "", "..", "../elsewhere", ".hidden", "a\0b"])
def test_received_session_is_one_safe_directory(tmp_path, session):
    """No session id of a frame leads out of `received`."""
    home = tmp_path / "home"  # one level below tmp_path, so that an escaping path stays inside tmp_path
    home.mkdir()
    saved = ReceivedFiles(home=home, save_to=None).save(FILE, session)
    assert saved == home / "received" / "unknown-session" / "a.txt"


def test_received_absolute_session_is_one_safe_directory(received, tmp_path):
    """An absolute path instead of a session id is replaced, too."""
    outside = tmp_path / "outside"
    assert received.save(FILE, str(outside)) == tmp_path / "received" / "unknown-session" / "a.txt"
    assert not outside.exists()


def test_save_to_keeps_the_operators_permissions(received, folder, tmp_path, open_umask):
    """In a directory of the operator, the umask applies.

    The directory stays unchanged.
    """
    folder.chmod(0o755)
    path = ReceivedFiles(home=tmp_path, save_to=folder).save(FILE, SESSION)
    assert (path, mode(path), mode(folder)) == (folder / "a.txt", 0o666, 0o755)


def test_chat_with_an_agent_saves_its_file_by_session(tmp_path):
    """With a whole host and a real session, the printed path contains the session's id."""
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    elsewhere.mkdir()
    ncl = [sys.executable, "-m", "nanoclaw_cli", "--home", str(home)]
    subprocess.run([*ncl, "init"], check=True, capture_output=True, timeout=WAIT_S)
    (agent,) = (home / "groups").iterdir()
    (agent / "venv.py").write_text("raise SystemExit('executed')\n")
    steps = [{"tools": [{"name": "send_file", "arguments": {"path": "venv.py"}}], "reply": "sent"}]
    script = json.dumps(json.dumps(steps))
    (home / "nanoclaw.toml").write_text(f'[core]\nprovider = "mock"\n\n[plugins.mock]\nscript = {script}\n')
    done = subprocess.run(
        [*ncl, "chat", "send it"], cwd=elsewhere, capture_output=True, text=True, check=False, timeout=WAIT_S
    )
    (session,) = (path.name for path in (home / "sessions").glob("ses-*"))
    saved = home / "received" / session / "venv.py"
    assert (done.returncode, done.stdout) == (0, "sent\n"), done.stderr
    assert f"saved {saved} (29 bytes)\n" in done.stderr
    assert (saved.exists(), list(elsewhere.iterdir())) == (True, [])
