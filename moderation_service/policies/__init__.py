"""A policy file and a policy pack: read, refused with advice, digested, and asked for their questions."""
