"""The worker: lanes, ledger, publisher, dead letters."""
