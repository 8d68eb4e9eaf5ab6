"""Audits: the draw of a verdict, the round that a job waits for, and the round of a review."""

import sqlalchemy as sa
from alembic import op

revision = "r0005"
down_revision = "r0004"


def upgrade() -> None:
    """Add them; nothing that was kept before was drawn, and the release before shows no job of an audit as blind."""
    op.add_column("verdicts", sa.Column("stratum", sa.Text(), nullable=True))
    op.add_column("verdicts", sa.Column("probability", sa.Double(), nullable=True))
    op.add_column("verdicts", sa.Column("sampled", sa.Boolean(), nullable=True))
    op.add_column("verdicts", sa.Column("cluster", sa.Text(), nullable=True))
    drawn, clustered = sa.text("stratum IS NOT NULL"), sa.text("cluster IS NOT NULL")
    columns = ["judged_at", "stratum", "probability", "sampled"]
    op.create_index("verdicts_drawn", "verdicts", columns, sqlite_where=drawn, postgresql_where=drawn)
    op.create_index("verdicts_clustered", "verdicts", ["cluster"], sqlite_where=clustered, postgresql_where=clustered)
    op.add_column("jobs", sa.Column("audit", sa.Text(), nullable=True))
    op.add_column("jobs", sa.Column("second", sa.Boolean(), nullable=True))
    op.add_column("jobs", sa.Column("place", sa.Double(), nullable=True))
    op.drop_index("jobs_counted", "jobs")
    op.create_index("jobs_counted", "jobs", ["state", "decision", "judged_at", "audit"])
    blind = sa.text("audit IS NOT NULL")
    op.create_index("jobs_blind", "jobs", ["state", "place"], sqlite_where=blind, postgresql_where=blind)
    op.add_column("reviews", sa.Column("audit_round", sa.Text(), nullable=True))
    op.add_column("reviews", sa.Column("audit_stratum", sa.Text(), nullable=True))
    op.add_column("reviews", sa.Column("audit_probability", sa.Double(), nullable=True))
    audits = sa.text("audit_round IS NOT NULL")
    op.create_index("reviews_audits", "reviews", ["reviewed_at"], sqlite_where=audits, postgresql_where=audits)
