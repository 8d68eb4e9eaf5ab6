"""One post to one verdict."""
