"""`ncl`: a thin client that starts fast, and the few commands that work on this machine without a host."""
