"""State words on a terminal."""

from __future__ import annotations

import io

from nanoclaw_cli.colours import coloured


class Screen(io.StringIO):
    def isatty(self):
        return True


def test_a_state_is_coloured_on_a_terminal_alone():
    assert coloured("problem", Screen(), {}) == "\x1b[31mproblem\x1b[0m"
    assert coloured("problem", io.StringIO(), {}) == "problem"
    assert coloured("problem", Screen(), {"NO_COLOR": "1"}) == "problem"
