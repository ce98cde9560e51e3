"""Chats on platforms, as a noun of `ncl`."""
