"""Turns `@path` words into attached files."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Sequence
from pathlib import Path

from nanoclaw_channel_terminal.frames import TransferredFile
from nanoclaw_channel_terminal.protocol import MAX_LINE_BYTES
from nanoclaw_core import InvalidArguments

MAX_FILES_BYTES = MAX_LINE_BYTES * 3 // 4 - 1_000_000  # base64 turns three bytes into four
_WORD = re.compile(r'(?<!\S)@(?:"([^"\n]+)"|(@?\S+))')


def extract_files(text: str, directory: Path) -> tuple[str, list[TransferredFile]]:
    """Read the files that a text names as `@path` or `@"a path"`.

    Return the text with their names, and the files.

    `@@` is a plain `@`. The text becomes empty if it contains only files.

    Raises:
        InvalidArguments: A file is missing or unreadable, or the files are too large in total.
    """
    files: list[TransferredFile] = []

    def replace(match: re.Match[str]) -> str:
        quoted, bare = match.groups()
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
    """Join the words of a command line.

    Quote a word that is a single `@path` with spaces.
    """
    return " ".join(_quoted(word, directory) for word in words)


def _quoted(word: str, directory: Path) -> str:
    is_path = word.startswith("@") and re.search(r"\s", word) and _path(word[1:], directory).is_file()
    return f'@"{word[1:]}"' if is_path else word


def _path(name: str, directory: Path) -> Path:
    return directory / Path(name).expanduser()


def _read(name: str, directory: Path, free_bytes: int) -> TransferredFile:
    path = _path(name, directory)
    try:
        if not path.is_file():
            raise InvalidArguments(f"@{name}: the file does not exist. Write @@{name} if you mean the text.")
        size_bytes = path.stat().st_size
        if size_bytes > free_bytes:
            raise InvalidArguments(
                f"@{name}: one message may contain {MAX_FILES_BYTES} bytes of files, got {size_bytes} for this file"
            )
        return TransferredFile(name=path.name, content=path.read_bytes(), mime_type=mimetypes.guess_type(path.name)[0])
    except OSError as error:
        raise InvalidArguments(f"@{name}: the file cannot be read: {error.strerror}") from error
