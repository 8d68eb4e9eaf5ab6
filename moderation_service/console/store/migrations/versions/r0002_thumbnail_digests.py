"""The digest of the file that a thumbnail was made of."""

import sqlalchemy as sa
from alembic import op

revision = "r0002"
down_revision = "r0001"


def upgrade() -> None:
    """Add it; thumbnails made before have none, and are not shown."""
    op.add_column("thumbnails", sa.Column("sha256", sa.Text(), nullable=True))
