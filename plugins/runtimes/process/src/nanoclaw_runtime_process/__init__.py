"""The process runtime: sandboxes as processes of this machine, isolated by bubblewrap if it is available."""
