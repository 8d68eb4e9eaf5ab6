"""Ratios measured in one run, and the local broker that benches and tests use."""
