"""Delivery from outbound.db to a platform: imported once, sent in order, with durable states."""
