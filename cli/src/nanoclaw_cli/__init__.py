"""The `ncl` command: a fast client for verbs, and the local commands that need no host."""
