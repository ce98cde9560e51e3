"""Constants of the tests that run `ncl chat` as a separate process."""

from __future__ import annotations

import sys

from nanoclaw_core import Address

ROOM = Address("terminal", "local")
WAIT_S = 60.0
SESSION = "ses-0123456789ab"
NCL = (sys.executable, "-m", "nanoclaw_cli")
