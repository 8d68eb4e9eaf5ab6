"""Languages: tags and their lookup, the language of a text, and the sentences that the machine writes."""
