"""The model gateway. It has only a host half."""
