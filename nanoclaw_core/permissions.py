"""Who has rights: the owners that the settings name, and the rosters of plugins. Absent means nobody (I8)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from attrs import frozen

from nanoclaw_core.descriptors.administration import Roster
from nanoclaw_core.descriptors.context import PluginContext
from nanoclaw_core.errors import PLUGIN_ERRORS
from nanoclaw_core.ids import GroupId, UserId
from nanoclaw_core.plugins import Contribution

log = logging.getLogger(__name__)


@frozen(kw_only=True)
class Permissions:
    """Answers questions about rights.

    Args:
        owners: From the settings.
        plugin_context: A plugin's context by the plugin's name.
    """

    owners: frozenset[str]
    rosters: Sequence[Contribution[Roster]]
    plugin_context: Callable[[str], PluginContext]

    def approvers(self, group_id: GroupId | None) -> list[UserId]:
        """Return who may approve for an agent group, most specific first, owners last; None asks for the instance."""
        found: list[UserId] = []
        for contribution in self.rosters:
            try:
                found += list(contribution.value.approvers(group_id, self.plugin_context(contribution.plugin)))
            except PLUGIN_ERRORS:  # the call fence: a roster that cannot be read gives nobody rights
                log.exception("roster failed", extra={"plugin": contribution.plugin})
        found += [UserId(owner) for owner in sorted(self.owners)]
        return list(dict.fromkeys(found))

    def is_admin(self, user: UserId | None, group_id: GroupId) -> bool:
        """Say whether a person may do what only an admin of this agent group may."""
        return user is not None and user in self.approvers(group_id)
