"""The verbs `ncl groups config …` and `ncl groups restart`."""
