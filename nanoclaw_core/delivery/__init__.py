"""From outbound.db to a platform: taken over once, sent in order, every state durable."""
