"""What a reviewer sees, and the HTTP API: a process of its own beside the worker."""
