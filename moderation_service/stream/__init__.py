"""The worker: partition manager and processors, offset tracker, publisher, dead letters."""
