"""Wirings, as a noun of `ncl`."""
