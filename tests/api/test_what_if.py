"""Goal: what-if and re-rating: command and request ask the same; big answers come as Arrow and CSV."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import orjson
import pyarrow as pa

from tests.api.conftest import Run
from tests.api.test_flow import CONTRACT, PLAN, event, put_world, send

FLAT = PLAN | {"charges": [PLAN["charges"][0] | {"price": {"model": "per_unit", "unit_price": "0.06"}}]}
QUESTION = {
    "date_from": "2026-11-01",
    "date_to": "2026-12-01",
    "variants": [{"name": "flat", "plans": [FLAT]}],
}


PAGE = (Path(__file__).parents[2] / "docs" / "whatif.md").read_text(encoding="utf-8")


def put_october(http: httpx.Client) -> None:
    """110 calls of one contract in October: 100 x 0.10 + 10 x 0.05 = 10.50 now, 6.60 at 0.06; and one that
    made two calls: 0.20 and 0.12."""
    put_world(http)
    for number, (key, value) in enumerate((("big", "110"), ("small", "2")), start=1):
        contract = CONTRACT | {"contract_id": key, "subjects": [key], "start_date": "2026-10-01"}
        assert http.put(f"/v1/contracts/{key}", json=contract).status_code == 201
        send(http, [event(number, subject=key, value=value) | {"time": "2026-10-05T00:00:00Z"}])


def test_a_request_is_answered_in_json_arrow_and_csv(http: httpx.Client) -> None:
    put_october(http)
    answer = http.post("/v1/what-if", json=QUESTION).json()
    assert [(row["contract_id"], row["now_minor"], row["variant_minor"]) for row in answer["items"]] == [
        ("big", 1050, 660),
        ("small", 20, 12),
    ]
    assert answer["variants"][0]["totals"][0]["difference_minor"] == -398
    arrow = http.post("/v1/what-if", json=QUESTION, headers={"Accept": "application/vnd.apache.arrow.stream"})
    assert pa.ipc.open_stream(arrow.content).read_all().to_pylist() == answer["items"]
    csv = http.post("/v1/what-if", json=QUESTION, headers={"Accept": "text/csv"}).text.splitlines()
    assert csv[1] == '"flat","big","acme","basic","EUR",1050,660,-390,""'


def test_the_command_shows_sums_and_rows(run: Run, http: httpx.Client, tmp_path: Path) -> None:
    put_october(http)
    (tmp_path / "flat.json").write_bytes(orjson.dumps(FLAT))
    asked = ["whatif", "--plan", "flat.json", "--from", "2026-11-01", "--to", "2026-12-01"]
    shown = run(*asked)
    assert shown.status == 0
    lines = [" ".join(line.split()) for line in shown.out.splitlines()]
    assert "flat 2 2 0 0 0 10.70 6.72 -3.98 EUR" in lines
    assert "flat big acme basic 10.50 6.60 -3.90 EUR" in lines
    assert run(*asked, "--json").json() == http.post("/v1/what-if", json=QUESTION).json()
    assert run(*asked, "--out", "rows.csv").status == 0
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 3
    only = run(*asked, "--contracts", "small", "--json").json()
    assert [row["contract_id"] for row in only["items"]] == ["small"]
    assert run(*asked, "--out", "rows.txt").status == 2


def test_the_example_of_the_page_comes_out_as_written(run: Run, http: httpx.Client, tmp_path: Path) -> None:
    put_october(http)
    (plan,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (command,) = re.findall(r"```sh\nratemill (whatif .*?)\n```", PAGE)
    (tmp_path / "one-price.yaml").write_text(plan, encoding="utf-8")
    shown = [" ".join(line.split()) for line in run(*command.split()).out.splitlines()]
    rows = [
        re.split(r" *\| *", row.strip("| ")) for row in re.findall(r"^\| one-price .*$", PAGE, re.MULTILINE)
    ]
    assert len(rows) == 2
    for variant, contract, now, then, difference in rows:
        assert f"{variant} {contract} acme basic {now} {then} {difference} EUR" in shown


def test_who_is_held_is_named_and_a_broken_plan_is_refused(
    run: Run, http: httpx.Client, tmp_path: Path
) -> None:
    put_october(http)
    broken: dict[str, Any] = {"model": "matrix", "dimensions": ["region"], "cells": []}
    broken["cells"] = [{"match": {"region": "us"}, "price": {"model": "per_unit", "unit_price": "1"}}]
    charge = PLAN["charges"][0]
    (tmp_path / "us.json").write_bytes(orjson.dumps(PLAN | {"charges": [charge | {"price": broken}]}))
    asked = ["--from", "2026-11-01", "--to", "2026-12-01"]
    held = run("whatif", "--plan", "us.json", *asked)
    assert held.status == 1
    assert "unrated_usage" in held.out
    (tmp_path / "bad.json").write_bytes(orjson.dumps(PLAN | {"charges": []}))
    refused = run("whatif", "--plan", "bad.json", *asked)
    assert refused.status == 1
    assert "charges" in refused.err
    assert http.get("/v1/price-plans/basic/versions").json()["items"][-1]["version"] == 1


def test_rerate_shows_what_came_late(run: Run, http: httpx.Client) -> None:
    """5 more calls of the first 100 at 0.10, on a contract billed for 2."""
    put_october(http)
    assert http.post("/v1/billing-runs", json={"as_of": "2026-11-01"}).status_code == 200
    asked = {"date_from": "2026-11-01", "date_to": "2026-11-02"}
    calm = http.post("/v1/rerate", json=asked).json()
    assert (calm["items"], calm["totals"][0]["unchanged"], calm["compared"]) == ([], 2, 2)
    assert "No line differs." in run("rerate", "--from", "2026-11-01", "--to", "2026-11-02").out
    send(http, [event(9, subject="small", value="5") | {"time": "2026-10-06T00:00:00Z"}])
    (item,) = http.post("/v1/rerate", json=asked).json()["items"]
    assert (item["contract_id"], item["difference_minor"], item["implies"]) == ("small", 50, "debit")
    shown = run("rerate", "--from", "2026-11-01", "--to", "2026-11-02", "--contracts", "small")
    lines = [" ".join(line.split()) for line in shown.out.splitlines()]
    assert "small 2026-11-01 calls region=eu changed 2 7 0.20 0.70 +0.50 EUR debit" in lines
    csv = http.post("/v1/rerate", json=asked, headers={"Accept": "text/csv"}).text.splitlines()
    assert len(csv) == 2
    assert '"region=eu","changed",2.000000000000,7.000000000000,"EUR",20,70,50,"debit"' in csv[1]
