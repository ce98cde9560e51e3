"""Conversations, as a noun of `ncl`."""
