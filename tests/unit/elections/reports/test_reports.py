"""Reports: valid by NIST's published schemas, the same in JSON and XML, equal to the result."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema_rs
import pytest
from pyarrow import parquet

from streams.cli.election.export import ReportFormat, write_report
from streams.elections.definitions import merged, read
from streams.elections.reports.nist import NAMESPACE, ORDER, nist_report, nist_xml
from streams.elections.reports.tables import COLUMNS
from streams.elections.results import ElectionResult, result_of

# Of github.com/usnistgov/ElectionResultsReporting, branch version2; see LICENSE.md there.
SCHEMAS = Path(__file__).parent / "nist_sp_1500_100"
XSD = "{http://www.w3.org/2001/XMLSchema}"
NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


def election(method: str = "ranked_choice", *, final: bool = True, **more: Any) -> ElectionResult:
    given = read(
        {
            "parties": [{"id": 1, "party_code": "A&B", "party_name": "Alpha <& Beta>"}],
            "regions": [{"id": 5, "region_code": "N", "region_name": "North"}],
            "elections": [
                {"id": 3, "election_name": "Council", "voting_method": method, **more},
            ],
            "candidates": [
                {"id": 11, "election_id": 3, "last_name": "Ann", "party_id": 1, "region_id": 5},
                {"id": 12, "election_id": 3, "last_name": "Bob", "region_id": 5},
                {"id": 13, "election_id": 3, "last_name": "Çyd", "region_id": 5},
            ],
        }
    )
    known = merged(read({}), given)
    ranked = [("11>12", None, 4), ("12", None, 3), ("13>12", None, 2), (">", "5", 1)]
    single = [("11", None, 4), ("12", None, 3)]
    ballots = ranked if method == "ranked_choice" else single
    result = result_of(known, known.elections[3], ballots)
    return ElectionResult(**{**vars(result), "final": final})


RESULTS = {
    "final": election(),
    "not final": election(final=False),
    "single": election("single_choice"),
    "dated": election(election_date="2026-11-03", election_type="general"),
}


def report(result: ElectionResult) -> dict[str, Any]:
    return nist_report(
        result, generated=NOW, issuer="Electoral Office", abbreviation="EO", language="en"
    )


@pytest.mark.parametrize("name", RESULTS)
def test_json_is_valid_by_the_published_schema(name: str) -> None:
    text = (SCHEMAS / "NIST_V2_election_results_reporting.json").read_text(encoding="utf-8")
    validator = jsonschema_rs.Draft4Validator(json.loads(text))
    found = report(RESULTS[name])
    assert [str(error) for error in validator.iter_errors(found)] == []
    del found["Issuer"]
    assert not validator.is_valid(found)


def test_the_report_holds_the_rounds() -> None:
    found = report(RESULTS["final"])
    [described] = found["Election"]
    [contest] = described["Contest"]
    assert [
        [(count["Round"], count["Count"]) for count in one["VoteCounts"]]
        for one in contest["ContestSelection"]
    ] == [[(1, 4), (2, 4)], [(1, 3), (2, 5)], [(1, 2)]]
    assert contest["OtherCounts"][0]["Undervotes"] == 1
    status = [one.get("PostElectionStatus") for one in described["Candidate"]]
    assert (found["Status"], status) == ("unofficial-complete", ["defeated", "winner", "defeated"])
    early = report(RESULTS["not final"])
    assert early["Status"] == "unofficial-partial"
    assert all("PostElectionStatus" not in one for one in early["Election"][0]["Candidate"])


def sequence(types: dict[str, ElementTree.Element], name: str) -> list[str]:
    """Elements of a type of the XML schema, those of the type that it extends first."""
    kind = types[name]
    extension = kind.find(f"{XSD}complexContent/{XSD}extension")
    own = kind if extension is None else extension
    before = [] if extension is None else sequence(types, extension.get("base", ""))
    return before + [one.get("name", "") for one in own.iterfind(f"{XSD}sequence/{XSD}element")]


def test_xml_has_the_fields_in_the_order_of_the_published_schema() -> None:
    root = ElementTree.parse(SCHEMAS / "NIST_V2_election_results_reporting.xsd").getroot()
    assert root.get("targetNamespace") == NAMESPACE
    types = {one.get("name", ""): one for one in root.iterfind(f"{XSD}complexType")}
    for name, fields in ORDER.items():
        assert [each for each in sequence(types, name) if each in fields] == list(fields)


@pytest.mark.parametrize("name", RESULTS)
def test_xml_holds_what_json_holds(name: str) -> None:
    found = report(RESULTS[name])
    root = ElementTree.fromstring(nist_xml(found))
    assert root.tag == f"{{{NAMESPACE}}}ElectionReport"

    def same(element: ElementTree.Element, value: dict[str, Any]) -> None:
        assert element.get("ObjectId") == value.get("@id")
        if "Content" in value:
            assert (element.text, element.get("Language")) == (value["Content"], value["Language"])
            return
        for field, held in value.items():
            if field.startswith("@"):
                continue
            inner = element.findall(f"{{{NAMESPACE}}}{field}")
            if isinstance(held, list) and not field.endswith("Ids"):
                for one, each in zip(inner, held, strict=True):
                    same(one, each)
            elif isinstance(held, dict):
                same(inner[0], held)
            else:
                text = " ".join(held) if isinstance(held, list) else str(held)
                assert [one.text for one in inner] == [text]

    same(root, found)


def test_rows_are_the_same_in_csv_and_parquet_and_have_a_dictionary(tmp_path: Path) -> None:
    result = RESULTS["final"]
    files = write_report(result, ReportFormat.CSV, tmp_path / "a.csv")
    assert json.loads(files[1].read_text(encoding="utf-8")) == COLUMNS
    with files[0].open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [
        (row["round"], row["candidate_id"], row["votes"], row["transferred"], row["status"])
        for row in rows
    ] == [
        ("1", "11", "4", "0", "continuing"),
        ("1", "12", "3", "0", "continuing"),
        ("1", "13", "2", "0", "eliminated"),
        ("2", "12", "5", "2", "elected"),
        ("2", "11", "4", "0", "continuing"),
    ]
    written, _ = write_report(result, ReportFormat.PARQUET, tmp_path / "a.parquet")
    table = parquet.read_table(written)
    assert [field.metadata[b"description"].decode() for field in table.schema] == list(
        COLUMNS.values()
    )
    as_text = [
        {name: "" if value is None else str(value) for name, value in row.items()}
        for row in table.to_pylist()
    ]
    assert as_text == rows


def test_rounds_have_the_form_of_rctab_s_summary(tmp_path: Path) -> None:
    [written] = write_report(RESULTS["final"], ReportFormat.ROUNDS, tmp_path / "a.json")
    [seat] = json.loads(written.read_text(encoding="utf-8"))
    first, last = seat["results"]
    assert first["tally"] == {"Ann": "4", "Bob": "3", "Çyd": "2"}
    assert first["tallyResults"] == [{"eliminated": "Çyd"}, {"transfers": {"Bob": "2"}}]
    assert last["tallyResults"] == [{"elected": "Bob"}]
    for form in (ReportFormat.NIST_JSON, ReportFormat.NIST_XML):
        [file] = write_report(
            RESULTS["final"], form, tmp_path / "b", issuer="Office", generated=NOW
        )
        assert b"2026-11-29T12:00:00Z" in file.read_bytes()
