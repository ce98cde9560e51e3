"""How fast it is: `./nanoclaw bench` prints our figures beside the targets and what others reach, and writes JSON."""
