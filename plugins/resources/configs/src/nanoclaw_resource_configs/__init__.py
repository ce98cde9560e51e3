"""How an agent group's sandboxes are made, as verbs of `ncl`."""
