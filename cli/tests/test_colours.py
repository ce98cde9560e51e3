"""Colours of state words."""

from __future__ import annotations

import io

from nanoclaw_cli.colours import coloured


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_coloured_needs_a_terminal_and_no_no_color():
    assert coloured("problem", Terminal(), {}) == "\x1b[31mproblem\x1b[0m"
    assert coloured("problem", io.StringIO(), {}) == "problem"
    assert coloured("problem", Terminal(), {"NO_COLOR": "1"}) == "problem"
