"""Known content: banks of image hashes, terms and links, and what of a post they hold."""
