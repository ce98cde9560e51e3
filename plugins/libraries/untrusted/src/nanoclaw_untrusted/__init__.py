"""Uses files, directories, databases and patterns that others may have written, within limits."""
