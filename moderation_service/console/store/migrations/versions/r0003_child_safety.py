"""Permissions of users, and the route of a verdict. The release before ignores both."""

import sqlalchemy as sa
from alembic import op

revision = "r0003"
down_revision = "r0002"


def upgrade() -> None:
    """Add them; nobody has a permission, and no verdict kept so far has a route."""
    op.add_column("users", sa.Column("permissions", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("verdicts", sa.Column("route", sa.Text(), nullable=True))
    routed = sa.text("route IS NOT NULL")
    op.create_index("verdicts_routed", "verdicts", ["seq"], sqlite_where=routed, postgresql_where=routed)
