"""The `ncl` command: a fast client for verbs, and local commands without a host."""
