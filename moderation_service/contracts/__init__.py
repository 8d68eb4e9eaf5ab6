"""Post, verdict, review, dead letter: bytes and headers to models and back. Pure."""
