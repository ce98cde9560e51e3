"""Agent groups, as a noun of `ncl`."""
