"""Descriptors between plugins and the core: frozen values and their protocols.

One module per kind of plugin. All names here are public through `nanoclaw_core`; plugins import them from there.
"""
