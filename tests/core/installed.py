"""Installs plugin distributions for a test: a real dist-info directory and a module, in a directory on the path."""

from __future__ import annotations

from pathlib import Path


def install(site: Path, distribution: str, module: str, source: str, *, plugin: str | None = None) -> None:
    """Write a distribution as pip does; its only entry point is the module."""
    site.mkdir(exist_ok=True)
    metadata = site / f"{distribution.replace('-', '_')}-1.2.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
    (metadata / "entry_points.txt").write_text(f"[nanoclaw]\n{plugin or module} = {module}\n")
    (site / f"{module}.py").write_text(source)
