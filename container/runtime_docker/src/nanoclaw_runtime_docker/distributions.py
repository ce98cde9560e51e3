"""Getting an installed distribution of ours into the image as it is here, whether an index knows it or not.

editable    its source directory is copied, and pip in the image builds it
pure        its installed files are packed into a wheel again
compiled    it is fetched from the index in the same version, because its files fit this machine only
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


class Kind(Enum):
    """How a distribution gets into the image."""

    EDITABLE = "editable"
    PURE = "pure"
    COMPILED = "compiled"


@frozen(kw_only=True)
class Ingredient:
    """One distribution for the image.

    Args:
        extra: The extra that goes along, or empty.
        fingerprint: Changes when the content does.
        source: The project's directory where it is installed in editable mode.
    """

    name: str
    version: str
    extra: str
    kind: Kind
    fingerprint: str
    source: Path | None = None

    @property
    def requirement(self) -> str:
        """Its line for pip, relative to the build context."""
        extra = f"[{self.extra}]" if self.extra else ""
        if self.kind is Kind.COMPILED:
            return f"{self.name}{extra}=={self.version}"
        place = f"sources/{self.name}" if self.kind is Kind.EDITABLE else f"wheels/{self.wheel_name}"
        return f"./{place}{extra}"

    @property
    def wheel_name(self) -> str:
        """The name of its wheel file."""
        return f"{self.name.replace('-', '_')}-{self.version}-py3-none-any.whl"


def ingredient(name: str, extra: str) -> Ingredient:
    """Look at an installed distribution.

    Raises:
        SandboxRefused: It is not installed.
    """
    try:
        found = distribution(name)
    except PackageNotFoundError as error:
        raise SandboxRefused(f"{name} belongs into the agent image but is not installed: pip install {name}") from error
    source = _editable_source(found)
    if source is not None:
        return _ingredient(found, name, extra, Kind.EDITABLE, _hash_of_files(source), source)
    record = hashlib.sha256((found.read_text("RECORD") or "").encode()).hexdigest()
    is_pure = "Root-Is-Purelib: true" in (found.read_text("WHEEL") or "")
    return _ingredient(found, name, extra, Kind.PURE if is_pure else Kind.COMPILED, record)


def source_files(directory: Path) -> Iterator[tuple[PurePosixPath, Path]]:
    """Yield a project's files that a build needs, in a stable order; not what is hidden, made or tested."""
    for parent, names, files in os.walk(directory):
        here = Path(parent)
        names[:] = sorted(name for name in names if _is_source(here / name))
        for name in sorted(files):
            path = here / name
            if not name.startswith(".") and path.suffix != ".pyc" and path.is_file() and not path.is_symlink():
                yield PurePosixPath(path.relative_to(directory).as_posix()), path


def pack_wheel(name: str) -> bytes:
    """Pack the installed files of a pure distribution into a wheel.

    https://packaging.python.org/en/latest/specifications/binary-distribution-format/
    """
    found = distribution(name)
    content, record = io.BytesIO(), []
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as wheel:
        for file in sorted(found.files or ()):
            path = Path(str(found.locate_file(file)))
            if ".." in file.parts or file.suffix == ".pyc" or file.name in _NOT_IN_A_WHEEL or not path.is_file():
                continue  # scripts are made anew where it is installed, and so is what the installer adds
            data = path.read_bytes()
            wheel.writestr(file.as_posix(), data)
            record.append(f"{file.as_posix()},sha256={_digest(data)},{len(data)}")
        target = f"{_metadata_directory(found)}/RECORD"
        wheel.writestr(target, "\n".join([*record, f"{target},,"]) + "\n")
    return content.getvalue()


def _ingredient(
    found: Distribution, name: str, extra: str, kind: Kind, fingerprint: str, source: Path | None = None
) -> Ingredient:
    return Ingredient(
        name=name,
        version=found.version,
        extra=extra,
        kind=kind,
        fingerprint=f"{found.version} {fingerprint}",
        source=source,
    )


def _editable_source(found: Distribution) -> Path | None:
    origin = json.loads(found.read_text("direct_url.json") or "{}")
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


def _metadata_directory(found: Distribution) -> str:
    return next(file.parts[0] for file in found.files or () if file.name == "METADATA")


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
