"""Goal: every migration has a form for a cluster that the engine can read, and it is the one on record.

``python -m tests.ingest.test_cluster_schema`` writes the record again.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.clickhouse import EventStore, open_event_store
from ingest.cluster_schema import Cluster, cluster_statements
from ingest.errors import BrokenState, StoreUnavailable
from ingest.event_migrations import MIGRATIONS, migration_statements

GOLDEN = Path(__file__).parent.parent / "golden" / "ingest" / "cluster.sql"
CLUSTER = Cluster("main", "ratemill")


def generated() -> str:
    """Everything a cluster is told, migration by migration."""
    parts = []
    for path in sorted(MIGRATIONS.glob("*.sql")):
        statements = [here for one in migration_statements(path) for here in cluster_statements(one, CLUSTER)]
        parts += [f"-- {path.name}\n", *(f"{statement};\n" for statement in statements)]
    return "\n".join(parts)


def test_the_statements_are_those_on_record() -> None:
    assert generated() == GOLDEN.read_text(encoding="utf-8"), (
        "the cluster's tables changed; look at them after `python -m tests.ingest.test_cluster_schema`"
    )


@pytest.mark.parametrize("path", sorted(MIGRATIONS.glob("*.sql")), ids=lambda path: path.name)
def test_the_engine_reads_every_statement(path: Path, event_store: EventStore) -> None:
    for statement in migration_statements(path):
        for here in cluster_statements(statement, CLUSTER):
            read = event_store.query("SELECT formatQuery({sql:String}) AS text", {"sql": here})
            assert "ON CLUSTER main" in read["text"][0].as_py()


def test_the_arguments_of_an_engine_stay() -> None:
    local, spread = cluster_statements(
        "CREATE TABLE IF NOT EXISTS rollup_periods (subject String) ENGINE = ReplacingMergeTree(rollup_id) "
        "ORDER BY subject SETTINGS fsync_after_insert = 1",
        CLUSTER,
    )
    assert local == (
        "CREATE TABLE IF NOT EXISTS rollup_periods_local ON CLUSTER 'main' (subject String) ENGINE = "
        "ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/ratemill/rollup_periods', '{replica}', "
        "rollup_id) ORDER BY subject SETTINGS replicated_deduplication_window = 0, fsync_after_insert = 1"
    )
    assert spread == (
        "CREATE TABLE IF NOT EXISTS rollup_periods ON CLUSTER 'main' AS rollup_periods_local "
        "ENGINE = Distributed('main', 'ratemill', 'rollup_periods_local', toUInt64(0))"
    )


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("CREATE TABLE unheard (a UInt8) ENGINE = MergeTree ORDER BY a", "no sharding key"),
        ("CREATE TABLE events (a UInt8) ENGINE = Log", "not replicated"),
        ("INSERT INTO events VALUES (1)", "no form for a cluster"),
    ],
)
def test_what_has_no_form_is_refused(statement: str, words: str) -> None:
    with pytest.raises(BrokenState, match=words):
        cluster_statements(statement, CLUSTER)


def test_a_folder_is_no_cluster(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="http"):
        open_event_store(f"chdb://{tmp_path}", "main")


def test_tables_of_a_server_on_its_own_are_no_clusters(server_events: EventStore) -> None:
    with pytest.raises(BrokenState, match="were made for no cluster"):
        open_event_store(server_events.url, "main")


if __name__ == "__main__":
    GOLDEN.parent.mkdir(parents=True, exist_ok=True)
    GOLDEN.write_text(generated(), encoding="utf-8")
