"""Messages that were turned down, as a noun of `ncl`."""
