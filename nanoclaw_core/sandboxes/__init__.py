"""Sandboxes: their runtime and contents, their start and stop, and checks for stuck ones."""
