"""Who may see the pages: users, their sessions, and the guard before every page."""
