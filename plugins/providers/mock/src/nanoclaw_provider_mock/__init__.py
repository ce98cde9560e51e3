"""The provider that needs no model: `host` for the host's half, `runner` for the sandbox's."""
