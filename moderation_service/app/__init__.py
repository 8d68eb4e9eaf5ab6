"""Composition root: the only room that knows every other. What the command line calls is here."""
