"""Generates `ncl` verbs for the resources of plugins."""
