"""A process that writes to a ledger without a pause: ``python -m tests.ingest.child_writer URL HOLD_MS``.

Each transaction lasts HOLD_MS and is committed; the next begins at once. It never ends by itself.
"""

from __future__ import annotations

import sys
import time

from ingest.ledger import ledger_transaction, open_ledger

COUNT = "SELECT count(*) FROM number_series WHERE series LIKE 'child-%'"


def main(url: str, hold_ms: str) -> None:
    ledger = open_ledger(url)
    sys.stdout.write("begins\n")
    sys.stdout.flush()
    number = 0
    while True:
        number += 1
        with ledger_transaction(ledger) as connection:
            connection.exec_driver_sql(
                f"INSERT INTO number_series (series, next_number) VALUES ('child-{number}', 1)"
            )
            time.sleep(int(hold_ms) / 1000)


if __name__ == "__main__":
    main(*sys.argv[1:])
