"""Descriptors between plugins and the core: frozen, keyword-only values, and the protocols behind them.

One module per kind of plugin. All names here are public through `nanoclaw_core`; plugins import them from there.
"""
