"""Appeals against blocks."""

import sqlalchemy as sa
from alembic import op

revision = "r0006"
down_revision = "r0005"
_SEQ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add their table."""
    op.create_table(
        "appeals",
        sa.Column("appeal_id", sa.Text(), primary_key=True),
        sa.Column("verdict_seq", _SEQ, sa.ForeignKey("verdicts.seq", ondelete="CASCADE"), nullable=False),
        sa.Column("filed_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_index("appeals_by_verdict", "appeals", ["verdict_seq"])
    op.create_index("appeals_by_time", "appeals", ["filed_at"])
