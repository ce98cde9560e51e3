"""Image builds: the context, the build and its progress. Every function blocks; call it from a thread or the CLI."""

from __future__ import annotations

import io
import re
import tarfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from attrs import define, field, frozen
from nanoclaw_wire import PROTOCOL

from nanoclaw_core import SandboxFailed
from nanoclaw_runtime_docker.container import PROTOCOL_LABEL
from nanoclaw_runtime_docker.distributions import DistributionSource, SourceKind, pack_wheel, source_files
from nanoclaw_runtime_docker.engine import Engine, explain
from nanoclaw_runtime_docker.group_recipe import GroupRecipe
from nanoclaw_runtime_docker.recipe import Recipe
from nanoclaw_runtime_docker.settings import Settings

KEPT_LINES = 20
SHOWN_CHARACTERS = 100
_STEP = re.compile(r"step (\d+)/(\d+) ?: (.*)", re.IGNORECASE)
_NEW_LINE, _COLOUR = re.compile(r"[\r\n]+"), re.compile(r"\x1b\[[0-9;]*m")
_COMMAND = re.compile(r"\bthe command '.*'", re.IGNORECASE | re.DOTALL)  # repeats the instruction as shell words
_CHATTER = (" ---> ", "Removing intermediate container ")


@frozen(kw_only=True)
class BuildStep:
    """The progress of a build.

    Args:
        number: The current step, from 1; 0 before the first.
        line: The last line of output; the instruction if the step is new.
        is_new: True if a step begins.
        elapsed_s: Seconds since the build began.
    """

    number: int
    count: int
    line: str
    is_new: bool
    elapsed_s: float

    def summary(self) -> str:
        """Return the progress as one line for people."""
        return f"[{self.elapsed_s:5.0f} s] {self.number}/{self.count} {self.line[:SHOWN_CHARACTERS]}"


@frozen(kw_only=True)
class BuildRequest:
    """An image to build.

    Args:
        context: A tar file with the Dockerfile and all files that it copies.
    """

    image: str
    context: bytes
    arguments: Mapping[str, str]
    labels: Mapping[str, str]


Progress = Callable[[BuildStep], Any]


@define
class _Log:
    """The build's output. It comes in pieces, not in lines, and stderr comes in colour."""

    progress: Progress
    began: float = field(factory=time.monotonic)
    number: int = 0
    count: int = 0
    instruction: str = ""
    kept: deque[str] = field(factory=lambda: deque(maxlen=KEPT_LINES))
    unfinished: str = ""

    def read(self, stream: Iterator[Mapping[str, Any]], image: str) -> None:
        for message in stream:
            if "error" in message:
                self._read_piece("\n")
                raise SandboxFailed(self._failure(image, str(message["error"])))
            self._read_piece(str(message.get("stream") or f"{message.get('status') or ''}\n"))

    def _read_piece(self, piece: str) -> None:
        *lines, self.unfinished = _NEW_LINE.split(self.unfinished + _COLOUR.sub("", piece))
        for line in filter(str.strip, lines):
            self._read_line(line.rstrip())

    def _read_line(self, line: str) -> None:
        if start := _STEP.match(line):
            self.number, self.count, self.instruction = int(start[1]), int(start[2]), " ".join(start[3].split())
            self.kept.clear()
        elif not line.startswith(_CHATTER):
            self.kept.append(line)
        shown = self.instruction if start else line.strip()
        elapsed_s = time.monotonic() - self.began
        step = BuildStep(
            number=self.number, count=self.count, line=shown, is_new=start is not None, elapsed_s=elapsed_s
        )
        self.progress(step)

    def _failure(self, image: str, error: str) -> str:
        output = "\n".join(f"    {line}" for line in [*self.kept, _COMMAND.sub("the command", error)])
        step = f"step {self.number}/{self.count} failed ({self.instruction[:SHOWN_CHARACTERS]})"
        return f"{image} was not built: {step}\n{output}"


def agent_build(recipe: Recipe, settings: Settings) -> BuildRequest:
    """Return the request that builds the image of all agents."""
    return BuildRequest(
        image=recipe.image,
        context=agent_context(recipe),
        arguments=build_arguments({"BASE_IMAGE": recipe.base_image}, settings),
        labels={"nanoclaw.parts": recipe.tag, PROTOCOL_LABEL: str(PROTOCOL)},
    )


def group_build(recipe: GroupRecipe, settings: Settings) -> BuildRequest:
    """Return the request that builds the image of one agent group."""
    return BuildRequest(
        image=recipe.image,
        context=pack_files(recipe.files),
        arguments=build_arguments(recipe.arguments, settings),
        labels=recipe.labels,
    )


def build_image(engine: Engine, request: BuildRequest, settings: Settings, progress: Progress) -> None:
    """Build an image, which gets its name after the last step. Call `progress` in this thread.

    Raises:
        SandboxRefused: No engine exists.
        SandboxFailed: A step failed; the message has the step and the end of its output.
    """
    try:
        client = engine.connect(settings.build_timeout_s)
    except Exception as error:  # the SDK raises errors of three libraries; `explain` maps each to one of ours
        raise explain(error, engine.address) from error
    answers: list[Any] = []
    client.hooks["response"].append(lambda answer, **_options: answers.append(answer))
    try:
        stream = client.build(
            fileobj=io.BytesIO(request.context),
            custom_context=True,
            tag=request.image,
            buildargs=dict(request.arguments),
            labels=dict(request.labels),
            network_mode=settings.build_network or None,
            rm=True,
            forcerm=True,
            decode=True,
        )
        _Log(progress).read(stream, request.image)
    except SandboxFailed:
        raise
    except Exception as error:  # the SDK raises errors of three libraries; `explain` maps each to one of ours
        raise explain(error, engine.address) from error
    finally:
        for answer in answers:
            answer.close()  # the SDK loses the stream's connection, so closing the client does not close it
        client.close()


def build_arguments(arguments: Mapping[str, str], settings: Settings) -> Mapping[str, str]:
    """Return a build's own arguments together with the non-empty ones of the settings."""
    chosen = {
        **arguments,
        "PIP_INDEX_URL": settings.pip_index_url,
        "PIP_EXTRA_INDEX_URL": settings.pip_extra_index_url,
        "PIP_TRUSTED_HOST": settings.pip_trusted_host,
        "NPM_CONFIG_REGISTRY": settings.npm_registry,
    }
    return {name: value for name, value in chosen.items() if value}


def agent_context(recipe: Recipe) -> bytes:
    """Return the build context of the agent image, a tar file."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        _add(tar, "Dockerfile", recipe.dockerfile.encode())
        _add(tar, "apt.txt", _lines(recipe.apt))
        _add(tar, "npm.txt", _lines(recipe.npm))
        _add(tar, "requirements.txt", _lines([*(source.requirement for source in recipe.distributions), *recipe.pip]))
        for name in ("wheels", "sources"):  # COPY fails if they are missing; they may be empty
            directory = tarfile.TarInfo(name)
            directory.type, directory.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(directory)
        for source in recipe.distributions:
            _add_distribution(tar, source)
    return content.getvalue()


def pack_files(files: Mapping[str, bytes]) -> bytes:
    """Return a build context, a tar file, of a few small files."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name, data in files.items():
            _add(tar, name, data)
    return content.getvalue()


def _add_distribution(tar: tarfile.TarFile, source: DistributionSource) -> None:
    if source.kind is SourceKind.PURE:
        _add(tar, f"wheels/{source.wheel_name}", pack_wheel(source.name))
    elif source.directory is not None:
        for name, path in source_files(source.directory):
            _add(tar, f"sources/{source.name}/{name}", path.read_bytes())


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)  # without times and owners, so that equal content gives an equal layer
    entry.size, entry.mode = len(data), 0o644
    tar.addfile(entry, io.BytesIO(data))


def _lines(lines: Any) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
