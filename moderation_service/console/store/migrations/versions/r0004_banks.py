"""What is known of banks: entries that were added here, the banks that verdicts match, and hashes of images."""

import sqlalchemy as sa
from alembic import op

revision = "r0004"
down_revision = "r0003"
_SEQ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add them; verdicts that were kept before have neither hashes nor matches here."""
    op.add_column("jobs", sa.Column("reason", sa.Text(), nullable=True))
    op.create_table(
        "image_hashes",
        sa.Column("verdict_seq", _SEQ, sa.ForeignKey("verdicts.seq", ondelete="CASCADE"), primary_key=True),
        sa.Column("position", sa.Integer(), primary_key=True),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("pdq", sa.LargeBinary(), nullable=True),
        sa.Column("pdq_quality", sa.Integer(), nullable=True),
    )
    op.create_index("image_hashes_by_sha256", "image_hashes", ["sha256"])
    op.create_table(
        "bank_matches",
        sa.Column("verdict_seq", _SEQ, sa.ForeignKey("verdicts.seq", ondelete="CASCADE"), primary_key=True),
        sa.Column("bank", sa.Text(), primary_key=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("is_shadow", sa.Boolean(), nullable=False),
    )
    op.create_table(
        "bank_entries",
        sa.Column("bank", sa.Text(), primary_key=True),
        sa.Column("entry_id", sa.Text(), primary_key=True),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("kind", "value", "reason")),
        sa.Column("verdict_id", sa.Text(), nullable=True),
        sa.Column("expires_at", _MOMENT, nullable=True),
        sa.Column("added_by", sa.Text(), nullable=False),
        sa.Column("added_at", _MOMENT, nullable=False),
        sa.Column("removed_at", _MOMENT, nullable=True),
    )
