"""What plugins hand to the core and get from it: frozen, keyword-only values and the protocols behind them.

One module per kind of plugin. Everything here is public through `nanoclaw_core`; plugins import it from there.
"""
