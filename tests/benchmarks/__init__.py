"""`./nanoclaw bench`: prints our figures next to the targets and the figures of other systems, and writes JSON."""
