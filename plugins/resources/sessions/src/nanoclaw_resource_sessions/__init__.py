"""The resource `sessions`: conversations."""
