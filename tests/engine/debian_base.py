"""A Debian base image made by mmdebstrap, without a registry, and a variant that trusts a proxy's certificates."""

from __future__ import annotations

import contextlib
import io
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

BUNDLE = "/etc/ssl/certs/nanoclaw-test.pem"
BUNDLE_VARIABLES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
PACKAGES = "python3,python3-venv,ca-certificates"


def make_debian(address: str, name: str, log: Path, suite: str = "bookworm") -> str:
    """Create an image of a minimal Debian with Python, and return its name.

    Needs half a minute, root and a mirror. The log gets the output of mmdebstrap.
    """
    command = ["mmdebstrap", "--mode=root", "--variant=minbase", f"--include={PACKAGES}", suite, "-"]
    repository, _, tag = name.partition(":")
    with (
        log.open("wb") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors) as tar,
        _client(address) as client,
    ):
        client.import_image_from_stream(tar.stdout, repository=repository, tag=tag)
    assert tar.returncode == 0, log.read_text(encoding="utf-8", errors="replace")
    return name


def trust(address: str, base: str, name: str, environment: Mapping[str, str]) -> str:
    """Create an image that trusts the certificates in $SSL_CERT_FILE, and return its name; the base if it is unset."""
    bundle = environment.get("SSL_CERT_FILE", "")
    if not bundle or not Path(bundle).is_file():
        return base
    settings = " ".join(f"{variable}={BUNDLE}" for variable in BUNDLE_VARIABLES)
    dockerfile = f"FROM {base}\nCOPY bundle.pem {BUNDLE}\nENV {settings}\n"
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        for path, data in (("Dockerfile", dockerfile.encode()), ("bundle.pem", Path(bundle).read_bytes())):
            entry = tarfile.TarInfo(path)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    context.seek(0)
    with _client(address) as client:
        answers: list[Any] = []
        client.hooks["response"].append(lambda answer, **_options: answers.append(answer))
        for message in client.build(fileobj=context, custom_context=True, tag=name, decode=True, rm=True):
            assert "error" not in message, message
        for answer in answers:
            answer.close()
    return name


@contextlib.contextmanager
def _client(address: str) -> Iterator:  # type: ignore[type-arg]  # of docker.APIClient, which is not imported here
    import docker

    client = docker.APIClient(base_url=address, version="auto", timeout=600)
    try:
        yield client
    finally:
        client.close()
