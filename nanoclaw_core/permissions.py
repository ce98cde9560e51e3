"""Rights of people: the owners in the settings and the rosters of plugins.

Without an entry a person has none (I8).
"""

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
        owners: The owners in the settings.
        plugin_context: Returns a plugin's context by the plugin's name.
    """

    owners: frozenset[str]
    rosters: Sequence[Contribution[Roster]]
    plugin_context: Callable[[str], PluginContext]

    def approvers(self, group_id: GroupId | None) -> list[UserId]:
        """Return the approvers of an agent group, most specific first, owners last; None means the whole instance."""
        users: list[UserId] = []
        for contribution in self.rosters:
            try:
                users += list(contribution.value.approvers(group_id, self.plugin_context(contribution.plugin)))
            except PLUGIN_ERRORS:  # error boundary: a failed roster gives no rights
                log.exception("roster failed", extra={"plugin": contribution.plugin})
        users += [UserId(owner) for owner in sorted(self.owners)]
        return list(dict.fromkeys(users))

    def is_admin(self, user: UserId | None, group_id: GroupId) -> bool:
        """Return True if a person is an admin of an agent group."""
        return user is not None and user in self.approvers(group_id)
