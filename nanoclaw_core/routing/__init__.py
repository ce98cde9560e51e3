"""From a platform's message to a row in a session: who engages, who may, and which conversation it belongs to."""
