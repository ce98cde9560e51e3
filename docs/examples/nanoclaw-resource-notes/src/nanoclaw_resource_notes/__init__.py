"""The resource `notes`: notes that people leave for an agent."""
