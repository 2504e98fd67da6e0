"""Goal: every command says in a terminal what the API says, and with --json exactly that."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import orjson
import pytest
from rich.console import Console

from api.billing import seller_of
from api.cli import build_cli, check_layout
from api.cli.session import table
from api.examples import CONTRACT, CUSTOMER, METER, PRICE_PLAN
from api.settings import Settings, load_settings
from ingest.errors import BrokenState, InvalidInput
from tests.api.conftest import Run
from tests.api.test_client import event_line


def write(folder: Path, name: str, *documents: object) -> str:
    path = folder / name
    path.write_bytes(orjson.dumps(documents[0] if len(documents) == 1 else documents))
    return str(path)


@pytest.fixture
def catalogue(run: Run, tmp_path: Path) -> None:
    """The example world: one meter, plan, customer and contract."""
    for kind, document in (
        ("meter", METER),
        ("plan", PRICE_PLAN),
        ("customer", CUSTOMER),
        ("contract", CONTRACT),
    ):
        assert run(kind, "put", write(tmp_path, f"{kind}.json", document)).status == 0


def test_status(run: Run) -> None:
    said = run("status")
    assert said.status == 0
    assert "event store  ok" in said.out
    assert "Using the server at" in said.err
    answer = run("status", "--json")
    assert answer.json()["ledger"] == "ok"
    assert answer.err == ""


def test_ingest_counts_and_names_the_refused(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "e.ndjson"
    path.write_bytes(event_line(1) + event_line(2, time="2026-11-01T00:00:00"))
    said = run("ingest", str(path))
    assert said.status == 1
    assert "time_without_zone" in said.out
    report = run("ingest", str(path), "--json").json()["files"][0]
    assert (report["records"], report["accepted"], report["duplicates"], report["rejected"]) == (2, 0, 1, 1)


@pytest.mark.parametrize("kind", ["meter", "plan", "customer", "contract"])
def test_documents_are_put_listed_and_shown(run: Run, catalogue: None, tmp_path: Path, kind: str) -> None:
    documents = {"meter": METER, "plan": PRICE_PLAN, "customer": CUSTOMER, "contract": CONTRACT}
    key = next(iter(documents[kind].values()))
    assert "unchanged" in run(kind, "put", write(tmp_path, "again.json", documents[kind])).out
    assert key in run(kind, "list").out
    assert key in run(kind, "show", key).out
    shown = run(kind, "show", key, "--json").json()
    document = shown.get("document", shown)
    assert documents[kind].items() <= document.items() or kind == "plan"


def test_a_plan_with_a_warning_is_saved_and_the_warning_is_shown(
    run: Run, catalogue: None, tmp_path: Path
) -> None:
    tiers = [{"up_to": "10", "unit_price": "1"}, {"unit_price": "0.5"}]
    charge = PRICE_PLAN["charges"][0] | {"price": {"model": "volume", "tiers": tiers}}
    path = write(tmp_path, "falling.json", PRICE_PLAN | {"plan_id": "falling", "charges": [charge]})
    said = run("plan", "put", path)
    assert said.status == 0
    words = " ".join(said.out.split())
    assert "warning: falling: charges[0].price.tiers[0].up_to: 10 " in words
    assert "cost 10.00 USD, and 11 cost 5.50: one more lowers the bill." in words
    (answer,) = run("plan", "put", path, "--json").json()["items"]
    assert [warning["reason_code"] for warning in answer["warnings"]] == ["more_costs_less"]


@pytest.mark.parametrize("kind", ["meter", "plan", "customer", "contract"])
def test_an_empty_list_says_what_to_do(run: Run, kind: str) -> None:
    said = run(kind, "list")
    assert said.status == 0
    assert f"ratemill {kind} put" in said.out


def test_many_contracts_are_saved_all_or_none(run: Run, catalogue: None, tmp_path: Path) -> None:
    many = [CONTRACT | {"contract_id": f"c-{number}", "subjects": [f"s-{number}"]} for number in range(30)]
    said = run("contract", "put", write(tmp_path, "many.json", *many), "--json")
    assert said.json() == {"saved": 30, "created": 30, "unchanged": 0}
    worse = [*many, CONTRACT | {"contract_id": "c-30", "subjects": ["s-1"]}]
    refused = run("contract", "put", write(tmp_path, "worse.json", *worse))
    assert refused.status == 1
    assert (
        run("contract", "list", "--json", "--limit", "1000").json()["items"][-1]["contract_id"]
        == "united-2013"
    )


def test_a_refused_document_shows_every_issue(run: Run, tmp_path: Path) -> None:
    bad = write(
        tmp_path, "bad.json", {"meter_id": "m", "event_type": "call", "aggregation": "sum", "more": 1}
    )
    said = run("meter", "put", bad)
    assert said.status == 1
    assert "more" in said.err
    assert run("meter", "put", bad, "--json").json()["reason_code"] == "invalid_document"


def test_keys_over_http(run: Run) -> None:
    made = run("keys", "create", "--scope", "read", "--scope", "bill", "--name", "reports", "--json").json()
    assert made["scopes"] == ["read", "bill"]
    assert made["token"].startswith(f"rm_{made['key_id']}_")
    assert "reports" in run("keys", "list").out
    assert "is revoked" in run("keys", "revoke", made["key_id"]).out


@pytest.mark.parametrize("kind", ["meter", "plan", "customer", "contract"])
def test_schema(run: Run, kind: str) -> None:
    assert run("schema", kind, "--json").json()["additionalProperties"] is False
    assert run("schema", "nothing").status == 1


def test_the_rooms_are_ours() -> None:
    check_layout()


def test_a_foreign_room_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import importlib.machinery
    import importlib.util

    stranger = importlib.machinery.ModuleSpec("rating", None, origin=str(tmp_path / "rating" / "__init__.py"))
    real = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: stranger if name == "rating" else real(name))
    with pytest.raises(BrokenState, match="'rating' comes from"):
        check_layout()


def test_the_version_is_told(run: Run) -> None:
    said = run("--version")
    assert (said.status, said.out.split()[0]) == (0, "Ratemill")


def test_a_narrow_terminal_breaks_no_word() -> None:
    """An id that is broken in two lines cannot be copied."""
    items = [{"id": "206f3d956efd6408ecc7d74f78d62b6f", "words": "as long as it takes", "number": 1234}]
    rows = table(items, (("id", "id"), ("words", "words"), ("number>", "number")))
    for width in (200, 60, 44):
        console = Console(width=width, file=StringIO(), color_system=None)
        with console.capture() as captured:
            console.print(rows)
        shown = captured.get()
        assert all(word in shown.split() for word in (items[0]["id"], "takes", "1,234")), (width, shown)
        assert max(len(line) for line in shown.splitlines()) <= width


def test_a_setting_that_cannot_be_used_is_named_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATEMILL_LEDGER_URL", "mysql://user:secret@host/ledger")
    with pytest.raises(InvalidInput, match="RATEMILL_LEDGER_URL") as refused:
        load_settings()
    assert "secret" not in str(refused.value)


def test_a_document_without_its_key_is_named_by_its_file(run: Run, tmp_path: Path) -> None:
    path = write(tmp_path, "plan.json", {"name": "Gold"})
    said = run("plan", "put", path)
    assert said.status == 1
    assert f"{path}: there is no plan_id" in said.err.replace("\n", "")


def test_the_seller_is_read_from_the_settings() -> None:
    assert seller_of(Settings()) is None
    seller = seller_of(Settings(seller_name="Northwind", seller_address="1 Long Quay; Dublin 2 ;"))
    assert seller is not None
    assert (seller.name, seller.address_lines) == ("Northwind", ("1 Long Quay", "Dublin 2"))


def test_every_command_has_json_and_a_help_text() -> None:
    import typer.main

    pending = [("ratemill", typer.main.get_command(build_cli()))]
    commands = 0
    while pending:
        name, found = pending.pop()
        children = getattr(found, "commands", None)
        if children is not None:
            pending.extend((f"{name} {child}", command) for child, command in children.items())
            continue
        commands += 1
        assert found.help, name
        assert any("--json" in parameter.opts for parameter in found.params), name
    assert commands >= 20
