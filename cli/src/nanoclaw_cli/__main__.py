"""Runs `ncl` as `python -m nanoclaw_cli`."""

import sys

from nanoclaw_cli.main import main

if __name__ == "__main__":
    sys.exit(main())
