"""Building images: the context, the build, and its progress. Blocks; for threads and the command line."""

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
from nanoclaw_runtime_docker.distributions import Ingredient, Kind, pack_wheel, source_files
from nanoclaw_runtime_docker.engine import Engine, explain
from nanoclaw_runtime_docker.group_recipe import GroupRecipe
from nanoclaw_runtime_docker.recipe import Recipe
from nanoclaw_runtime_docker.settings import Settings

KEPT_LINES = 20
SHOWN_CHARACTERS = 100
_STEP = re.compile(r"step (\d+)/(\d+) ?: (.*)", re.IGNORECASE)
_NEW_LINE, _COLOUR = re.compile(r"[\r\n]+"), re.compile(r"\x1b\[[0-9;]*m")
_COMMAND = re.compile(r"\bthe command '.*'", re.IGNORECASE | re.DOTALL)  # the instruction once more, as a shell has it
_CHATTER = (" ---> ", "Removing intermediate container ")


@frozen(kw_only=True)
class BuildStep:
    """How far a build is.

    Args:
        number: Of the step under way, from 1; 0 before the first.
        line: What was said last; of a new step, its instruction.
        is_new: True where a step begins.
        elapsed_s: Since the build began, in seconds.
    """

    number: int
    count: int
    line: str
    is_new: bool
    elapsed_s: float

    def for_people(self) -> str:
        """Return a line that says how far it is."""
        return f"[{self.elapsed_s:5.0f} s] {self.number}/{self.count} {self.line[:SHOWN_CHARACTERS]}"


@frozen(kw_only=True)
class BuildOrder:
    """One image to be built.

    Args:
        context: A tar file with the Dockerfile and all that it copies.
    """

    image: str
    context: bytes
    arguments: Mapping[str, str]
    labels: Mapping[str, str]


Progress = Callable[[BuildStep], Any]


@define
class _Log:
    """The build's words as they come: in pieces, not in lines, and what goes to stderr in colour."""

    progress: Progress
    began: float = field(factory=time.monotonic)
    number: int = 0
    count: int = 0
    instruction: str = ""
    kept: deque[str] = field(factory=lambda: deque(maxlen=KEPT_LINES))
    unfinished: str = ""

    def follow(self, stream: Iterator[Mapping[str, Any]], image: str) -> None:
        for message in stream:
            if "error" in message:
                self._hear("\n")
                raise SandboxFailed(self._failure(image, str(message["error"])))
            self._hear(str(message.get("stream") or f"{message.get('status') or ''}\n"))

    def _hear(self, piece: str) -> None:
        *lines, self.unfinished = _NEW_LINE.split(self.unfinished + _COLOUR.sub("", piece))
        for line in filter(str.strip, lines):
            self._read(line.rstrip())

    def _read(self, line: str) -> None:
        if found := _STEP.match(line):
            self.number, self.count, self.instruction = int(found[1]), int(found[2]), " ".join(found[3].split())
            self.kept.clear()
        elif not line.startswith(_CHATTER):
            self.kept.append(line)
        shown = self.instruction if found else line.strip()
        elapsed_s = time.monotonic() - self.began
        step = BuildStep(
            number=self.number, count=self.count, line=shown, is_new=found is not None, elapsed_s=elapsed_s
        )
        self.progress(step)

    def _failure(self, image: str, error: str) -> str:
        said = "\n".join(f"    {line}" for line in [*self.kept, _COMMAND.sub("the command", error)])
        step = f"step {self.number}/{self.count} failed ({self.instruction[:SHOWN_CHARACTERS]})"
        return f"{image} was not built: {step}\n{said}"


def agent_order(recipe: Recipe, settings: Settings) -> BuildOrder:
    """Order the image that all agents have."""
    return BuildOrder(
        image=recipe.image,
        context=context(recipe),
        arguments=build_arguments({"BASE_IMAGE": recipe.base_image}, settings),
        labels={"nanoclaw.parts": recipe.tag, PROTOCOL_LABEL: str(PROTOCOL)},
    )


def group_order(recipe: GroupRecipe, settings: Settings) -> BuildOrder:
    """Order the image of one agent group."""
    return BuildOrder(
        image=recipe.image,
        context=packed(recipe.files),
        arguments=build_arguments(recipe.arguments, settings),
        labels=recipe.labels,
    )


def build_image(engine: Engine, order: BuildOrder, settings: Settings, progress: Progress) -> None:
    """Build an image under its name, which it gets when all is done; `progress` is called in this thread.

    Raises:
        SandboxRefused: There is no engine.
        SandboxFailed: A step failed; the message has the step and the end of what it said.
    """
    try:
        client = engine.connect(settings.build_timeout_s)
    except Exception as error:  # the SDK lets errors of three libraries through; each is told in our words
        raise explain(error, engine.address) from error
    answers: list[Any] = []
    client.hooks["response"].append(lambda answer, **_options: answers.append(answer))
    try:
        stream = client.build(
            fileobj=io.BytesIO(order.context),
            custom_context=True,
            tag=order.image,
            buildargs=dict(order.arguments),
            labels=dict(order.labels),
            network_mode=settings.build_network or None,
            rm=True,
            forcerm=True,
            decode=True,
        )
        _Log(progress).follow(stream, order.image)
    except SandboxFailed:
        raise
    except Exception as error:  # the SDK lets errors of three libraries through; each is told in our words
        raise explain(error, engine.address) from error
    finally:
        for answer in answers:
            answer.close()  # the SDK forgets the stream's connection, and closing the client does not reach it
        client.close()


def build_arguments(arguments: Mapping[str, str], settings: Settings) -> Mapping[str, str]:
    """Return a build's own arguments and those of the settings, as far as somebody set them."""
    chosen = {
        **arguments,
        "PIP_INDEX_URL": settings.pip_index_url,
        "PIP_EXTRA_INDEX_URL": settings.pip_extra_index_url,
        "PIP_TRUSTED_HOST": settings.pip_trusted_host,
        "NPM_CONFIG_REGISTRY": settings.npm_registry,
    }
    return {name: value for name, value in chosen.items() if value}


def context(recipe: Recipe) -> bytes:
    """Return the build context, a tar file."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        _add(tar, "Dockerfile", recipe.dockerfile.encode())
        _add(tar, "apt.txt", _lines(recipe.apt))
        _add(tar, "npm.txt", _lines(recipe.npm))
        _add(tar, "requirements.txt", _lines([*(one.requirement for one in recipe.ingredients), *recipe.pip]))
        for name in ("wheels", "sources"):  # COPY wants them to be there, also empty
            directory = tarfile.TarInfo(name)
            directory.type, directory.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(directory)
        for one in recipe.ingredients:
            _add_ingredient(tar, one)
    return content.getvalue()


def packed(files: Mapping[str, bytes]) -> bytes:
    """Return a build context of a few small files."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for name, data in files.items():
            _add(tar, name, data)
    return content.getvalue()


def _add_ingredient(tar: tarfile.TarFile, one: Ingredient) -> None:
    if one.kind is Kind.PURE:
        _add(tar, f"wheels/{one.wheel_name}", pack_wheel(one.name))
    elif one.source is not None:
        for name, path in source_files(one.source):
            _add(tar, f"sources/{one.name}/{name}", path.read_bytes())


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)  # no times and no owners: the same content is the same layer
    entry.size, entry.mode = len(data), 0o644
    tar.addfile(entry, io.BytesIO(data))


def _lines(lines: Any) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()
