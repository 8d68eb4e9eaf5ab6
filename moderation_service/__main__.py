"""`python -m moderation_service`."""

from moderation_service.cli import main

main()
