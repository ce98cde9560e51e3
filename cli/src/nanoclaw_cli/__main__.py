"""`python -m nanoclaw_cli` is `ncl`."""

import sys

from nanoclaw_cli.main import main

if __name__ == "__main__":
    sys.exit(main())
