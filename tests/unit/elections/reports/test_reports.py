"""Reports: valid by NIST's published schemas, the same in JSON and XML, equal to the result."""

from __future__ import annotations

import csv
import io
import json
import warnings
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema_rs
import pytest
import xmlschema
from pyarrow import parquet

from streams.elections.definitions import merged, read
from streams.elections.files.formats import open_ballots
from streams.elections.reports.eml import NAMESPACE as EML_NAMESPACE
from streams.elections.reports.eml import eml_510
from streams.elections.reports.files import ReportFormat, ReportRefused, ReportWords, report_of
from streams.elections.reports.nist import NAMESPACE, nist_report, nist_xml
from streams.elections.reports.tables import COLUMNS
from streams.elections.results import ElectionResult, result_of

# Of github.com/usnistgov/ElectionResultsReporting, branch version2; see LICENSE.md there.
SCHEMAS = Path(__file__).parent / "nist_sp_1500_100"
# Of the OASIS Standard; emlcore has the notice that goes with all of them.
EML = Path(__file__).parent / "eml_5_0"
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


@pytest.fixture(scope="module")
def nist() -> xmlschema.XMLSchema:
    path = SCHEMAS / "NIST_V2_election_results_reporting.xsd"
    return xmlschema.XMLSchema(str(path), allow="local")


@pytest.fixture(scope="module")
def eml() -> xmlschema.XMLSchema:
    with warnings.catch_warnings():
        # Schemas of addresses, names and signatures, which a count has none of.
        warnings.simplefilter("ignore", xmlschema.XMLSchemaImportWarning)
        return xmlschema.XMLSchema(str(EML / "510-count-v5-0.xsd"), validation="lax", allow="local")


COUNCIL = {"rules": {"count_by": "stv_scottish", "seats": 2}}
ASSEMBLY = {"rules": {"count_by": "dhondt", "seats": 3}}
RESULTS = {
    "final": election(),
    "not final": election(final=False),
    "single": election("single_choice"),
    "council": election(**COUNCIL),
    "council by Meek": election(rules={"count_by": "stv_meek", "seats": 2}),
    "assembly": election("single_choice", **ASSEMBLY),
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


@pytest.mark.parametrize("name", RESULTS)
def test_xml_is_valid_by_the_published_schema(name: str, nist: xmlschema.XMLSchema) -> None:
    written = nist_xml(report(RESULTS[name])).decode()
    assert [str(error) for error in nist.iter_errors(written)] == []
    assert not nist.is_valid(written.replace("Issuer>", "Issued>"))


@pytest.mark.parametrize("name", RESULTS)
def test_eml_510_is_valid_by_the_schema_of_the_standard(
    name: str, eml: xmlschema.XMLSchema
) -> None:
    written = eml_510(RESULTS[name]).decode()
    assert [str(error) for error in eml.iter_errors(written)] == []
    assert not eml.is_valid(written.replace("ValidVotes", "Votes"))


def test_eml_510_has_first_choices_and_the_votes_of_rounds() -> None:
    space = {"": EML_NAMESPACE}
    root = ElementTree.fromstring(eml_510(RESULTS["final"]))
    [contest] = root.findall("Count/Election/Contests/Contest", space)
    selections = contest.findall("TotalVotes/Selection", space)
    assert [one.findtext("ValidVotes", namespaces=space) for one in selections] == ["4", "3", "2"]
    metrics = [
        [(m.get("Id"), m.text) for m in one.findall("CountMetric", space)] for one in selections
    ]
    assert metrics[1] == [("round-1", "3"), ("round-2", "5")]
    [party] = contest.findall("TotalVotes/Selection/AffiliationIdentifier/RegisteredName", space)
    assert party.text == "Alpha <& Beta>"
    assert contest.findtext("CountingAlgorithm", namespaces=space) == "instant_runoff"
    council = ElementTree.fromstring(eml_510(RESULTS["council"]))
    metric = council.findall(
        "Count/Election/Contests/Contest/TotalVotes/Selection/CountMetric", space
    )
    assert metric[0].text == "4.00000"


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


WORDS = ReportWords(NOW)


@pytest.mark.parametrize("name", ["final", "council", "assembly"])
def test_rows_are_the_same_in_csv_and_parquet_and_have_a_dictionary(name: str) -> None:
    result = RESULTS[name]
    assert json.loads(report_of(result, ReportFormat.DICTIONARY, WORDS)) == COLUMNS
    text = report_of(result, ReportFormat.CSV, WORDS).decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    table = parquet.read_table(io.BytesIO(report_of(result, ReportFormat.PARQUET, WORDS)))
    assert [field.metadata[b"description"].decode() for field in table.schema] == list(
        COLUMNS.values()
    )
    as_text = [
        {name: "" if value is None else str(value) for name, value in row.items()}
        for row in table.to_pylist()
    ]
    assert as_text == rows


def columns_of(result: ElectionResult, *names: str) -> list[tuple[str, ...]]:
    text = report_of(result, ReportFormat.CSV, WORDS).decode()
    return [tuple(row[name] for name in names) for row in csv.DictReader(io.StringIO(text))]


def test_rows_have_rounds_and_quotas() -> None:
    names = ("round", "candidate_id", "votes", "transferred", "status")
    assert columns_of(RESULTS["final"], *names) == [
        ("1", "11", "4", "0", "continuing"),
        ("1", "12", "3", "0", "continuing"),
        ("1", "13", "2", "0", "eliminated"),
        ("2", "12", "5", "2", "elected"),
        ("2", "11", "4", "0", "continuing"),
    ]
    council = columns_of(RESULTS["council"], "candidate_id", "votes", "status", "seats", "quota")
    assert council[0] == ("11", "4.00000", "elected", "2", "4.00000")
    early = columns_of(election(final=False, **ASSEMBLY, method="single_choice"), "status", "quota")
    assert early == [("leading", ""), ("leading", ""), ("continuing", "")]


def test_rounds_have_the_form_of_rctab_s_summary() -> None:
    [seat] = json.loads(report_of(RESULTS["final"], ReportFormat.ROUNDS, WORDS))
    first, last = seat["results"]
    assert first["tally"] == {"Ann": "4", "Bob": "3", "Çyd": "2"}
    assert first["tallyResults"] == [{"eliminated": "Çyd"}, {"transfers": {"Bob": "2"}}]
    assert last["tallyResults"] == [{"elected": "Bob"}]
    [seat] = json.loads(report_of(RESULTS["council"], ReportFormat.ROUNDS, WORDS))
    assert seat["results"][0]["threshold"] == "4.00000"
    assert seat["results"][0]["tallyResults"][-1] == {"elected": "Ann"}


def test_a_report_says_when_and_by_whom() -> None:
    for form in (ReportFormat.NIST_JSON, ReportFormat.NIST_XML):
        body = report_of(RESULTS["final"], form, ReportWords(NOW, "Electoral Office", "fr"))
        assert b"2026-11-29T12:00:00Z" in body
        assert b"Electoral Office" in body
    for words in (ReportWords(NOW, "two\nlines"), ReportWords(NOW, language="<en>")):
        with pytest.raises(ReportRefused):
            report_of(RESULTS["final"], ReportFormat.NIST_XML, words)
    hidden = ElectionResult(**{**vars(RESULTS["final"]), "hidden": 10})
    for form in ReportFormat:
        with pytest.raises(ReportRefused, match="may not be known"):
            report_of(hidden, form, WORDS)


def test_the_cast_ballots_come_back_from_their_file(tmp_path: Path) -> None:
    result = RESULTS["council"]
    file = tmp_path / "a.blt"
    file.write_bytes(report_of(result, ReportFormat.BLT, WORDS))
    assert file.read_text(encoding="utf-8").splitlines() == [
        *("3 2", "4 1 2 0", "3 2 0", "2 3 2 0", "1 0", "0"),
        *('"Ann"', '"Bob"', '"Çyd"', '"Council"'),
    ]
    reader = open_ballots(file)
    layout = reader.layout()
    assert (list(layout.names.values()), layout.seats) == (["Ann", "Bob", "Çyd"], 2)
    with pytest.raises(ReportRefused, match="no such region"):
        report_of(result, ReportFormat.BLT, ReportWords(NOW, region="X"))
    [seat] = result.seats
    unnamed = replace(seat, box={("=", "11"): 2})
    with pytest.raises(ReportRefused, match="2 ballots have an over-vote"):
        report_of(replace(result, seats=(unnamed,)), ReportFormat.BLT, WORDS)
    marked = replace(seat, box={("", "11=12", "99", "13"): 1})
    lines = report_of(replace(result, seats=(marked,)), ReportFormat.BLT, WORDS).decode()
    assert lines.splitlines()[1] == "1 - 1=2 3 0"
