"""Notes that people leave for an agent, as a noun of `ncl`."""
