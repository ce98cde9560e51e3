"""The resource `messaging-groups`: chats on platforms."""
