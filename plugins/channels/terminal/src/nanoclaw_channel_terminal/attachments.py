"""Files by path: `@path` words become files."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Sequence
from pathlib import Path

from nanoclaw_channel_terminal.frames import File
from nanoclaw_channel_terminal.names import MAX_LINE_BYTES
from nanoclaw_core import InvalidArguments

MAX_FILES_BYTES = MAX_LINE_BYTES * 3 // 4 - 1_000_000  # base64 makes four bytes of three
_WORD = re.compile(r'(?<!\S)@(?:"([^"\n]+)"|(@?\S+))')


def take_files(text: str, directory: Path) -> tuple[str, list[File]]:
    """Read the files that a text names with `@path` (`@"a path"` with spaces); the text keeps their names.

    `@@` is a plain `@`. A text that is nothing but files becomes empty.

    Raises:
        InvalidArguments: A file is not there, cannot be read, or all together are too large.
    """
    files: list[File] = []

    def replace(found: re.Match[str]) -> str:
        quoted, bare = found.groups()
        if bare and bare.startswith("@"):
            return bare
        file = _read(quoted or bare, directory, MAX_FILES_BYTES - sum(len(file.content) for file in files))
        files.append(file)
        return file.name

    if not _WORD.sub("", text).strip() and not re.search(r"(?<!\S)@@", text):
        _WORD.sub(replace, text)
        return "", files
    return _WORD.sub(replace, text), files


def join_words(words: Sequence[str], directory: Path) -> str:
    """Join the words of a command line; a word that is one `@path` as a whole keeps its spaces."""
    return " ".join(_quoted(word, directory) for word in words)


def _quoted(word: str, directory: Path) -> str:
    is_path = word.startswith("@") and re.search(r"\s", word) and _path(word[1:], directory).is_file()
    return f'@"{word[1:]}"' if is_path else word


def _path(name: str, directory: Path) -> Path:
    return directory / Path(name).expanduser()


def _read(name: str, directory: Path, room_bytes: int) -> File:
    path = _path(name, directory)
    try:
        if not path.is_file():
            raise InvalidArguments(f"there is no file {name}; write @@{name} where you mean the words")
        size_bytes = path.stat().st_size
        if size_bytes > room_bytes:
            raise InvalidArguments(f"{name} has {size_bytes} bytes; one message takes {MAX_FILES_BYTES} at most")
        return File(name=path.name, content=path.read_bytes(), mime_type=mimetypes.guess_type(path.name)[0])
    except OSError as error:
        raise InvalidArguments(f"{name} cannot be read: {error.strerror}") from error
