"""The resource `deliveries`: outgoing messages."""
