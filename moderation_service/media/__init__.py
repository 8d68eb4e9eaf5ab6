"""References to bytes to pixels; what cannot be had or decoded is a typed outcome on that image."""
