"""Turns the nouns that plugins offer into `ncl` verbs."""
