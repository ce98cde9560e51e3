"""The side of `ncl` that asks, on the host and in a sandbox. It is waited for at each command, so it loads little."""
