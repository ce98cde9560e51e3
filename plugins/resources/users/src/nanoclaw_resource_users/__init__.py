"""People, as a noun of `ncl`."""
