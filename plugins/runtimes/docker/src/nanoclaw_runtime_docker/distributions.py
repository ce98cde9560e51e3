"""The sources of our distributions for the image: the installed versions, even if no package index has them.

editable    copy the source directory; pip builds it in the image
pure        pack the installed files into a wheel
compiled    download the same version from the index, because the installed files fit this machine only
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterator
from enum import Enum
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from attrs import frozen

from nanoclaw_core import SandboxRefused

_NOT_SOURCE = {"__pycache__", "node_modules", "dist", "build", "tests"}
_NOT_IN_A_WHEEL = {"INSTALLER", "REQUESTED", "direct_url.json", "RECORD"}


class SourceKind(Enum):
    """The way in which a distribution gets into the image."""

    EDITABLE = "editable"
    PURE = "pure"
    COMPILED = "compiled"


@frozen(kw_only=True)
class DistributionSource:
    """The source of one distribution for the image.

    Args:
        extra: The extra to install, or empty.
        fingerprint: Changes with the content.
        directory: The project's directory if it is installed in editable mode; otherwise None.
    """

    name: str
    version: str
    extra: str
    kind: SourceKind
    fingerprint: str
    directory: Path | None = None

    @property
    def requirement(self) -> str:
        """The line for pip, relative to the build context."""
        extra = f"[{self.extra}]" if self.extra else ""
        if self.kind is SourceKind.COMPILED:
            return f"{self.name}{extra}=={self.version}"
        path = f"sources/{self.name}" if self.kind is SourceKind.EDITABLE else f"wheels/{self.wheel_name}"
        return f"./{path}{extra}"

    @property
    def wheel_name(self) -> str:
        """The name of the wheel file."""
        return f"{self.name.replace('-', '_')}-{self.version}-py3-none-any.whl"


def distribution_source(name: str, extra: str) -> DistributionSource:
    """Determine how an installed distribution gets into the image.

    Raises:
        SandboxRefused: The distribution is not installed.
    """
    try:
        installed = distribution(name)
    except PackageNotFoundError as error:
        raise SandboxRefused(f"{name} belongs in the agent image but is not installed: pip install {name}") from error
    directory = _editable_directory(installed)
    if directory is not None:
        return _source_of(installed, name, extra, SourceKind.EDITABLE, _hash_of_files(directory), directory)
    record = hashlib.sha256((installed.read_text("RECORD") or "").encode()).hexdigest()
    is_pure = "Root-Is-Purelib: true" in (installed.read_text("WHEEL") or "")
    return _source_of(installed, name, extra, SourceKind.PURE if is_pure else SourceKind.COMPILED, record)


def source_files(directory: Path) -> Iterator[tuple[PurePosixPath, Path]]:
    """Yield the files that building a project needs, in a stable order; no hidden, generated or test files."""
    for parent, names, files in os.walk(directory):
        folder = Path(parent)
        names[:] = sorted(name for name in names if _is_source(folder / name))
        for name in sorted(files):
            path = folder / name
            if not name.startswith(".") and path.suffix != ".pyc" and path.is_file() and not path.is_symlink():
                yield PurePosixPath(path.relative_to(directory).as_posix()), path


def pack_wheel(name: str) -> bytes:
    """Pack the installed files of a pure distribution into a wheel.

    https://packaging.python.org/en/latest/specifications/binary-distribution-format/
    """
    installed = distribution(name)
    content, record = io.BytesIO(), []
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as wheel:
        for file in sorted(installed.files or ()):
            path = Path(str(installed.locate_file(file)))
            if ".." in file.parts or file.suffix == ".pyc" or file.name in _NOT_IN_A_WHEEL or not path.is_file():
                continue  # the next installation generates scripts and the installer's own files again
            data = path.read_bytes()
            wheel.writestr(file.as_posix(), data)
            record.append(f"{file.as_posix()},sha256={_digest(data)},{len(data)}")
        target = f"{_metadata_directory(installed)}/RECORD"
        wheel.writestr(target, "\n".join([*record, f"{target},,"]) + "\n")
    return content.getvalue()


def _source_of(
    installed: Distribution, name: str, extra: str, kind: SourceKind, fingerprint: str, directory: Path | None = None
) -> DistributionSource:
    return DistributionSource(
        name=name,
        version=installed.version,
        extra=extra,
        kind=kind,
        fingerprint=f"{installed.version} {fingerprint}",
        directory=directory,
    )


def _editable_directory(installed: Distribution) -> Path | None:
    origin = json.loads(installed.read_text("direct_url.json") or "{}")
    if not origin.get("dir_info", {}).get("editable"):
        return None
    return Path(unquote(urlsplit(origin["url"]).path))


def _is_source(path: Path) -> bool:
    name = path.name
    is_left_out = name.startswith(".") or name in _NOT_SOURCE or name.endswith(".egg-info") or path.is_symlink()
    return not is_left_out and not (path / "pyvenv.cfg").exists()


def _hash_of_files(directory: Path) -> str:
    digest = hashlib.sha256()
    for name, path in source_files(directory):
        digest.update(f"{name}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _metadata_directory(installed: Distribution) -> str:
    return next(file.parts[0] for file in installed.files or () if file.name == "METADATA")


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
