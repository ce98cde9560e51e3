"""The resource `dropped-messages`: refused messages."""
