"""Transparency reports, from what the console has stored."""
