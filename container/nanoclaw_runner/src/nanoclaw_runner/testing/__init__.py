"""The sandbox's side of the test kit: `HostSide` plays the host around a runner, `provider_contract` tests providers.

It imports neither pytest nor the core, like all of the runner's distribution.
"""

from nanoclaw_runner.testing.host_side import FAMILY, PATIENCE_S, PEER, WORK, HostSide, said

__all__ = ["FAMILY", "PATIENCE_S", "PEER", "WORK", "HostSide", "said"]
