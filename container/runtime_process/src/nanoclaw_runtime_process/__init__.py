"""The process runtime: sandboxes as processes of this machine, isolated by bubblewrap where it is to be had."""
