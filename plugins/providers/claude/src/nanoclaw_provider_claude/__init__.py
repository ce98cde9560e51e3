"""Claude as the agent: `host` says what its sandboxes may reach and with which key, `runner` runs it inside of one."""
