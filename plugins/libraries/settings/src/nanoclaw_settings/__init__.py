"""Reads a TOML file into attrs classes; each error names the key, the rule and the value."""
