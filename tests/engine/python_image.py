"""An image built without a registry: the Python that runs the tests, some distributions, and their shared libraries.

Files keep their paths, so that scripts and links stay valid. Building takes some seconds. The image is for tests only;
`container/image/Dockerfile` builds the real one.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import site
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterable, Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement

PROGRAMS = (
    "sh",
    "bash",
    "env",
    "cat",
    "ls",
    "echo",
    "sleep",
    "true",
    "mkdir",
    "rm",
    "cp",
    "grep",
    "sed",
    "date",
    "uname",
)
NOT_NEEDED = {"__pycache__", "test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "site-packages", "share"}
EMPTY_DIRECTORIES = ("proc", "sys", "dev", "tmp", "run", "sbin", "etc", "home", "workspace")
PASSWD = "root:x:0:0:root:/root:/bin/sh\nagent:x:1000:1000:agent:/home/agent:/bin/sh\n"


def make_image(address: str, name: str, distributions: Iterable[str]) -> str:
    """Create an image with installed distributions and their requirements in an engine, and return its name."""
    import docker

    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as source, os.fdopen(writer, "wb") as sink:
        writing = threading.Thread(target=_write_root, args=(sink, tuple(distributions)))
        writing.start()
        client = docker.APIClient(base_url=address, version="auto", timeout=300)
        try:
            repository, _, tag = name.partition(":")
            client.import_image_from_stream(
                source, repository=repository, tag=tag, changes=[f'ENTRYPOINT ["{_executable()}"]', "USER 1000:1000"]
            )
        finally:
            client.close()
            writing.join()
    return name


def closure(distributions: Iterable[str]) -> list[metadata.Distribution]:
    """Return the distributions and all their requirements, without those that are not installed."""
    installed: dict[str, metadata.Distribution] = {}
    pending = list(distributions)
    while pending:
        requirement = Requirement(pending.pop())
        key = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if key in installed and not requirement.extras:
            continue
        try:
            installed[key] = metadata.distribution(requirement.name)
        except metadata.PackageNotFoundError:
            continue
        needs = (Requirement(text) for text in installed[key].requires or ())
        pending += [str(need) for need in needs if _applies(need, requirement.extras or {""})]
    return list(installed.values())


def _applies(need: Requirement, extras: Iterable[str]) -> bool:
    return need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in extras)


def _write_root(sink: io.BufferedWriter, distributions: tuple[str, ...]) -> None:
    with sink, tarfile.open(fileobj=sink, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        root = _Root(tar)
        for name in EMPTY_DIRECTORIES:
            root.directory(Path("/", name), 0o1777 if name == "tmp" else 0o755)
        root.text(Path("/etc/passwd"), PASSWD)
        root.text(Path("/etc/nsswitch.conf"), "hosts: files dns\n")
        root.copy(_executable())
        for source, target in [*_standard_library(), *_installed_files(closure(distributions))]:
            root.copy(source, target)
        for program in PROGRAMS:
            if path := shutil.which(program):
                root.copy(Path(path).resolve(), Path("/bin", program))
        root.add_libraries()


class _Root:
    """Writes the image's root: each path once, and the shared libraries of the copied programs."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar, self._written, self._binaries = tar, set[Path](), set[Path]()

    def directory(self, path: Path, mode: int = 0o755) -> None:
        if path in self._written or path == Path("/"):
            return
        self.directory(path.parent)
        entry = tarfile.TarInfo(str(path).lstrip("/"))
        entry.type, entry.mode = tarfile.DIRTYPE, mode
        self._add(path, entry, None)

    def text(self, path: Path, text: str) -> None:
        entry = tarfile.TarInfo(str(path).lstrip("/"))
        entry.size, entry.mode = len(text.encode()), 0o644
        self._add(path, entry, io.BytesIO(text.encode()))

    def copy(self, source: Path, target: Path | None = None) -> None:
        target = target or source
        if target in self._written:
            return
        self.directory(target.parent)
        with source.open("rb") as file:
            entry = tarfile.TarInfo(str(target).lstrip("/"))
            entry.size, entry.mode = source.stat().st_size, 0o755 if os.access(source, os.X_OK) else 0o644
            if file.read(4) == b"\x7fELF":
                self._binaries.add(source)
            file.seek(0)
            self._add(target, entry, file)

    def add_libraries(self) -> None:
        """Copy the shared libraries of all programs and modules, and the loader."""
        for path in _shared_libraries(self._binaries):
            self.copy(path.resolve(), path)

    def _add(self, path: Path, entry: tarfile.TarInfo, content: io.BufferedIOBase | None) -> None:
        self._written.add(path)
        self._tar.addfile(entry, content)


def _executable() -> Path:
    """Return the path of the real interpreter, not of a virtual environment's link."""
    return Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}").resolve()


def _standard_library() -> Iterator[tuple[Path, Path]]:
    library = Path(os.__file__).parent
    for directory, names, files in os.walk(library):
        names[:] = [name for name in names if name not in NOT_NEEDED]
        for name in files:
            path = Path(directory, name)
            if path.suffix != ".a" and path.is_file():
                yield path, path


def _installed_files(distributions: Iterable[metadata.Distribution]) -> Iterator[tuple[Path, Path]]:
    """Yield the files of distributions with their targets.

    Those of an editable one come from its sources.
    """
    target = Path(site.getsitepackages([sys.base_prefix])[0])
    for distribution in distributions:
        for file in distribution.files or ():
            source = Path(str(distribution.locate_file(file)))
            if ".." not in file.parts and file.suffix not in (".pth", ".pyc") and source.is_file():
                yield source, target / file
        if (distribution.read_text("direct_url.json") or "").find('"editable"') >= 0:
            yield from _editable_files(distribution.name.replace("-", "_"), target)


def _editable_files(package: str, target: Path) -> Iterator[tuple[Path, Path]]:
    spec = find_spec(package)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        for path in Path(location).rglob("*"):
            if path.is_file() and not {"__pycache__", ".mypy_cache"} & set(path.parts):
                yield path, target / package / path.relative_to(location)


def _shared_libraries(binaries: Iterable[Path]) -> set[Path]:
    libraries = set()
    for path in binaries:
        listed = subprocess.run(["ldd", str(path)], capture_output=True, text=True, check=False).stdout
        libraries |= {Path(name) for name in re.findall(r"(/\S+) \(0x", listed)}
    for name in ("libnss_files.so.2", "libnss_dns.so.2", "libgcc_s.so.1"):  # loaded by name while running
        libraries |= {path.parent / name for path in list(libraries) if (path.parent / name).exists()}
    return libraries
