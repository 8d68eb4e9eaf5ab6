"""The synthetic posts, the small model trained on them, and its recipe."""
