"""`python -m nanoclaw_core` is `ncl`."""

import sys

from nanoclaw_core.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
