"""The resource `wirings`: which agent answers in which chat."""
