"""Finds installed plugins from metadata alone, which an interrupted installation may have left broken."""

from __future__ import annotations

import logging
import re
from importlib.metadata import EntryPoint, distributions

from attrs import frozen

log = logging.getLogger(__name__)
_ABOUT = re.compile(r"^(Name|Version): *(\S+)", re.MULTILINE)


@frozen(kw_only=True)
class InstalledPlugin:
    """An installed plugin, known from metadata alone.

    Args:
        source: The distribution and its version, `nanoclaw-channel-terminal 0.1.0`.
    """

    name: str
    source: str
    entry_point: EntryPoint


def find_entry_points(group: str) -> list[InstalledPlugin]:
    """Return the plugins of a group of entry points in name order; read metadata only.

    If a distribution is on the path twice, only the first one counts, as for imports.
    """
    installed: dict[tuple[str, str], InstalledPlugin] = {}
    seen: set[str] = set()
    for distribution in distributions():
        try:
            # Do not use `name` and `version`: they parse the whole description, which takes milliseconds each time.
            head = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
            about = dict(_ABOUT.findall(head.partition("\n\n")[0]))
            name = re.sub(r"[-_.]+", "-", about["Name"]).lower()
            points = [] if name in seen else list(distribution.entry_points)
            source = f"{about['Name']} {about['Version']}"
        except Exception:  # error boundary: an interrupted installation can lack a name or its entry points
            log.debug("metadata not readable", exc_info=True)
            continue
        seen.add(name)
        installed |= {
            (point.name, name): InstalledPlugin(name=point.name, source=source, entry_point=point)
            for point in points
            if point.group == group
        }
    return [installed[key] for key in sorted(installed)]
