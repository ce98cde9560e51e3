"""The resource `users`: people who have written to nanoclaw."""
