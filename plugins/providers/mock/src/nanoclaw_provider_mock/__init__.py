"""The provider that needs no model: `host` is the half on the host, `runner` the half in the sandbox."""
