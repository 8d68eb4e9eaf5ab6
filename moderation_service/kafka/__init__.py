"""Clients from settings, topics, and reading and writing whole topics."""
