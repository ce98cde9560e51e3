"""Messages on their way out, as a noun of `ncl`."""
