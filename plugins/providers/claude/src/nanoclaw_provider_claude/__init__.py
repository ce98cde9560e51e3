"""Claude as the agent: `host` declares its API and credential, `runner` runs it in the sandbox."""
