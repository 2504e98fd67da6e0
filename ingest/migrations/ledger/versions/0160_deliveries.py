"""The outbox of documents: deliveries, what happened to each, links, files as sent, addresses that bounced.

What was issued before is not sent: the outbox begins after the last number of every series.
"""

import sqlalchemy as sa
from alembic import op

revision = "0160"
down_revision = "0150"
branch_labels = None
depends_on = None

_EVENT_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    _create_deliveries()
    op.create_table(
        "delivery_events",
        sa.Column("event_id", _EVENT_ID, primary_key=True, autoincrement=True),
        sa.Column("delivery_id", sa.String(32), nullable=False),
        sa.Column("at", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(24), nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
    )
    op.create_index("ix_delivery_events_delivery_id", "delivery_events", ["delivery_id"])
    op.create_table(
        "delivery_cursors",
        sa.Column("series", sa.String(32), primary_key=True),
        sa.Column("next_number", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "delivery_links",
        sa.Column("link_id", sa.String(32), primary_key=True),
        sa.Column("delivery_id", sa.String(32), nullable=False),
        sa.Column("document_id", sa.String(64), nullable=True),
        sa.Column("expires_at", sa.String(32), nullable=False),
        sa.Column("revoked_at", sa.String(32), nullable=True),
    )
    op.create_index("ix_delivery_links_delivery_id", "delivery_links", ["delivery_id"])
    op.create_table(
        "document_files",
        sa.Column("document_id", sa.String(64), primary_key=True),
        sa.Column("media_type", sa.String(64), primary_key=True),
        sa.Column("content_hash", sa.String(64), nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("made_at", sa.String(32), nullable=False),
    )
    op.create_table(
        "bounced_addresses",
        sa.Column("address", sa.String(320), primary_key=True),
        sa.Column("delivery_id", sa.String(32), nullable=False),
        sa.Column("bounced_at", sa.String(32), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
    )
    op.execute(
        "INSERT INTO delivery_cursors (series, next_number) SELECT series, next_number FROM number_series"
    )
    _keep_events_as_they_are()


def _create_deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("delivery_id", sa.String(32), primary_key=True),
        sa.Column("document_id", sa.String(64), nullable=True),
        sa.Column("customer_id", sa.String(128), nullable=False),
        sa.Column("channel", sa.String(16), nullable=False),
        sa.Column("purpose", sa.String(16), nullable=False),
        sa.Column("occasion", sa.String(64), nullable=False),
        sa.Column("recipient", sa.Text, nullable=False),
        sa.Column("role", sa.String(24), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason_code", sa.String(64), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("retried_after", sa.Integer, nullable=False),
        sa.Column("due_at", sa.String(32), nullable=False),
        sa.Column("next_attempt_at", sa.String(32), nullable=True),
        sa.Column("leased_until", sa.String(32), nullable=True),
        sa.Column("message_id", sa.String(255), nullable=False),
        sa.Column("content_hash", sa.String(64), nullable=False),
        sa.Column("message_hash", sa.String(64), nullable=False),
        sa.Column("provider_id", sa.String(255), nullable=False),
        sa.Column("confirm_wanted", sa.Boolean, nullable=False),
        sa.Column("follow_up_at", sa.String(32), nullable=True),
        sa.Column("queued_at", sa.String(32), nullable=False),
        sa.Column("sent_at", sa.String(32), nullable=True),
    )
    op.create_index("ix_deliveries_state", "deliveries", ["state", "next_attempt_at"])
    op.create_index("ix_deliveries_document_id", "deliveries", ["document_id"])
    op.create_index("ix_deliveries_customer_id", "deliveries", ["customer_id"])
    op.create_index("ix_deliveries_message_id", "deliveries", ["message_id"])
    op.create_index("ix_deliveries_follow_up_at", "deliveries", ["follow_up_at"])


def _keep_events_as_they_are() -> None:
    """What happened to a delivery is only added to, whoever writes to the ledger."""
    words = "what happened to a delivery is never changed"
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER delivery_events_no_{verb.lower()} BEFORE {verb} ON delivery_events "
                f"BEGIN SELECT RAISE(ABORT, '{words}'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION refuse_delivery_event_change() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{words}'; END $$"
    )
    op.execute(
        "CREATE TRIGGER delivery_events_no_change BEFORE UPDATE OR DELETE ON delivery_events "
        "FOR EACH ROW EXECUTE FUNCTION refuse_delivery_event_change()"
    )
