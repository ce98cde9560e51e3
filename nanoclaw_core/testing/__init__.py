"""The test kit for plugin authors, which our own tests use, too."""
