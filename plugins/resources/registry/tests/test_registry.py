"""The verbs that the registry makes, on a running host, asked over the control socket."""
