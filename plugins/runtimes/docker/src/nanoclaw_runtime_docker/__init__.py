"""The docker runtime: sandboxes as containers, through the Docker Engine API."""
