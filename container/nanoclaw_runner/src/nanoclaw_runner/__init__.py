"""The loop inside a sandbox. `python -m nanoclaw_runner` runs it; plugins import `nanoclaw_runner.provider`."""
