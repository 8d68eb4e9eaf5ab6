"""Audits: how they are drawn, and what blind answers say of the error rate. Pure."""
