"""The components and settings that the delivery queues and their attempts share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import apsw
from attrs import frozen
from nanoclaw_untrusted.database_outage import DatabaseOutage

from nanoclaw_core.delivery.message_builder import MessageBuilder
from nanoclaw_core.delivery.typing_indicator import TypingIndicator
from nanoclaw_core.descriptors.channels import ChannelAdapter
from nanoclaw_core.events import HostEvents
from nanoclaw_core.plugins import Plugins
from nanoclaw_core.timing import Timing


@frozen(kw_only=True)
class DeliveryContext:
    """The components and settings of all delivery queues.

    Args:
        pauses_s: Seconds before each further attempt; the last one repeats.
        max_age_s: Seconds during which delivery is retried. Each host uses every pause at least once.
        outage: Logs that the central database refuses writes; shared by all components of a host.
    """

    db: apsw.Connection
    plugins: Plugins
    adapters: Mapping[str, ChannelAdapter]
    builder: MessageBuilder
    typing: TypingIndicator
    events: HostEvents
    pauses_s: Sequence[float]
    max_age_s: float
    outage: DatabaseOutage
    timing: Timing
