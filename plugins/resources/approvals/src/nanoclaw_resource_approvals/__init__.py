"""The resource `approvals`: list, answer, execute once and expire requests that need a human."""
