"""nanoclaw: the host that runs people's AI assistants, and the hooks that extend it.

Import all public names from here: `from nanoclaw_core import Channel, Inbound, hookimpl`. A name is loaded at its first
use, so an import costs only the names that are used.
"""

from __future__ import annotations

from importlib import import_module

__version__ = "0.1.0"

# The stub `__init__.pyi` imports each public name from its module. A second list here could differ from it.
with open(f"{__file__}i", encoding="utf-8") as _stub:  # pathlib takes milliseconds to import
    _IMPORTS = _stub.read().partition("\n__version__")[0].translate(dict.fromkeys(map(ord, "(),"), " "))
_HOME_OF = {
    name: module
    for module, _, names in (line.partition(" import ") for line in _IMPORTS.split("\nfrom ")[1:])
    for name in names.split()
}

__all__ = tuple(_HOME_OF)


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'nanoclaw_core' has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME_OF])
