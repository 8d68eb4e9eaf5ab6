"""Pixels and prompts in, label scores out."""
