"""What each value stands for, and which function checks it, by place and name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

FRAMEWORK: Final = "litestar.params.Parameter"
"""Type and bounds in the signature of the handler."""
PARSER: Final = "typer.Option"
"""Type and bounds in the signature of the command."""
ALL: Final = "streams.cli.values.check_arguments"
"""Of every argument, before anything else."""
MODEL: Final = "schemas.codec"


@dataclass(frozen=True)
class Rule:
    """What stands at a door."""

    what: str
    """A key of :data:`tests.doors.values.BAD`, or `body`, `record`, `table`."""
    check: str
    """Where it is, by its dotted name."""


_FORMS: Final = "streams.gateway.handlers.poll_forms"
_VOTES: Final = "streams.gateway.submissions"
_CONTEST: Final = Rule("contest", "streams.core.keys.is_contest_name")
_ROOM: Final = Rule("room", "streams.core.keys.is_contest_name")
_TALLY: Final = Rule("name", "streams.tally.refusals.plain_name")
_TEXT: Final = Rule("text", f"{_FORMS}.bounded")
_NUMBER: Final = Rule("number", FRAMEWORK)
_PAGE: Final = Rule("ignored", "streams.core.keys.is_contest_name")
_NOTHING: Final = Rule("ignored", "streams.gateway.http_server.listening")

HTTP: Final[dict[str, Rule]] = {
    "GET /v2/contests kind": Rule("word", FRAMEWORK),
    "lang": Rule("word", FRAMEWORK),
    "GET /law/{contest:str} contest:str": _PAGE,
    "GET /election/{election:str} election:str": _PAGE,
    "receipt:str": Rule("secret", "streams.intake.receipts.Receipts.open"),
    "law_id:str": _CONTEST,
    "contest:str": _CONTEST,
    "GET /results/{contest:str}/events contest:str": _ROOM,
    "opened": Rule("word", FRAMEWORK),
    "after": _NUMBER,
    "limit": _NUMBER,
    "size:int": _NUMBER,
    "start": _NUMBER,
    "end": _NUMBER,
    "tree": _NUMBER,
    "since": Rule("date", "streams.core.dates.parse_begin"),
    "step_s": _NUMBER,
    "election_id:int": _NUMBER,
    "region_id:int": _NUMBER,
    "poll_id:int": _NUMBER,
    "page": _NUMBER,
    "page_size": _NUMBER,
    "full_name": _TEXT,
    "search": _TEXT,
    "creator": _TEXT,
    "status": Rule("word", "streams.gateway.handlers.polls.STATES"),
    "job_id:str": Rule("word", "uuid.UUID"),
    "election_id:str": _TALLY,
    "guardian:str": _TALLY,
    "name:str": Rule("word", "streams.gateway.handlers.pages.read_files"),
    "form:str": Rule("word", "streams.elections.reports.files.ReportFormat"),
    "patch": Rule("word", FRAMEWORK),
    **dict.fromkeys(
        ("issuer", "language", "region"), Rule("text", "streams.elections.reports.files.report_of")
    ),
    # Fields of votes.
    "nas": Rule("text", f"{_VOTES}.law_hashes"),
    "code": Rule("text", f"{_VOTES}.law_hashes"),
    "law_id": Rule("id", f"{_VOTES}.law_vote"),
    "vote": Rule("word", f"{_VOTES}.law_vote"),
    "election_id": Rule("id", f"{_VOTES}.candidate_vote"),
    "candidate_id": Rule("id", f"{_VOTES}.candidate_vote"),
    "region_id": Rule("id", f"{_VOTES}.candidate_vote"),
    "ranked_choices": Rule("id", f"{_VOTES}.candidate_vote"),
    "blank": Rule("ignored", "streams.gateway.handlers.votes.official_vote_calls"),
    "encrypted_ballot": Rule("ignored", f"{_VOTES}.candidate_vote"),
    "voting_method": Rule("ignored", "streams.messages.ranked_ballots.RANKED_METHODS"),
    "poll_id": Rule("number", f"{_FORMS}.number_of"),
    "option_id": Rule("number", f"{_FORMS}.number_of"),
    "voter_name": _TEXT,
    "voter_hash": Rule("ignored", f"{_FORMS}.bounded"),
    # Fields of polls.
    "title": _TEXT,
    "creator_name": _TEXT,
    "description": Rule("lines", f"{_FORMS}.bounded"),
    "options": _TEXT,
    "end_time": Rule("date", "streams.core.dates.parse_end"),
    "opens_at": Rule("date", "streams.core.dates.parse_begin"),
    "who": Rule("word", "streams.core.polls.Who"),
    # Whole bodies.
    "body of a vote": Rule("body", "streams.gateway.problems.unreadable_body"),
    "body of a poll": Rule("body", "streams.gateway.problems.problem_of"),
    "body of a command": Rule("body", "streams.tally.messages.command_of"),
    # The script of a page reads its path; each value that it then asks for is checked there.
    "page /embed/{contest:str}": _NOTHING,
    "page /r/{receipt:str}": _NOTHING,
    "page /tally/{election_id:str}": _NOTHING,
    "page /tally/{election_id:str}/ballot": _NOTHING,
    "page /p/{poll_id:int}": _NOTHING,
    # Not in the signature of a handler.
    "header x-api-key": Rule("ignored", "streams.gateway.voters.Voters.by_api_key"),
    "header x-edit-token": Rule("ignored", "streams.gateway.poll_store.token_digest"),
    "header x-forwarded-for": Rule("ignored", "streams.gateway.client_address.address_of"),
    "header x-forwarded-proto": Rule("ignored", "streams.gateway.client_address.TrustedProxies"),
    "header accept": _NOTHING,
    "header accept-encoding": _NOTHING,
    "header accept-language": Rule("ignored", "streams.gateway.server_words.ServerWords"),
    "header last-event-id": _NOTHING,
    "header if-none-match": _NOTHING,
    "header content-length": Rule("ignored", "streams.gateway.vote_calls.VoteCalls"),
    "header x-request-id": Rule("ignored", "streams.gateway.middleware.RequestMiddleware"),
    "header origin": Rule("ignored", "streams.gateway.cors.CrossOrigin"),
    "cookie scrutin_voter": Rule("ignored", "streams.gateway.voters.Voters.read_cookie"),
    "query electionId": _TALLY,
    "query guardianId": Rule("ignored", "streams.gateway.handlers.tally_status.decryption_status"),
}

_CHANGES: Final = "streams.console.changes.ContestChanges"
CONSOLE: Final[dict[str, Rule]] = {
    "name": Rule("secret", "streams.console.keys.Operators.admits"),
    "key": Rule("secret", "streams.console.keys.Operators.admits"),
    "csrf": Rule("secret", "streams.console.sessions.Session.sent_by_its_page"),
    "contest": Rule("word", "streams.inspect.contests.fetch_contests"),
    "typed": Rule("word", _CHANGES),
    "request": Rule("number", "streams.console.app"),
    "verb:str": Rule("word", _CHANGES),
    "code:str": Rule("word", "streams.console.words.Languages"),
    "name:str": Rule("word", "streams.gateway.handlers.pages.read_files"),
    "status": Rule("word", "streams.console.votes.rejected"),
    "before": _NUMBER,
    "code": Rule("secret", "streams.console.open_id.OpenIdLogin.finish"),
    "state": Rule("secret", "streams.console.open_id.OpenIdLogin.finish"),
}

SOCKETS: Final[dict[str, Rule]] = {
    "contest:str": _ROOM,
    "law_id:str": _ROOM,
    "poll_id:str": _ROOM,
    "/ws/elections/{election_id:str} election_id:str": _ROOM,
    "/ws/tallies/{election_id:str} election_id:str": _TALLY,
    "messages": Rule("ignored", "streams.gateway.connections"),
}

_BODY: Final = "streams.messages.incoming"
MESSAGES: Final[dict[str, Rule]] = {
    "vote_hash": Rule("wire hash", f"{_BODY}.read_body"),
    "law_id": Rule("wire id", "streams.messages.fields.id_of"),
    "candidate_id": Rule("wire id", "streams.messages.fields.id_of"),
    "election_id": Rule("wire id", "streams.messages.fields.id_of"),
    "citizen_id": Rule("wire id", "streams.messages.fields.id_of"),
    "choice": Rule("wire id", f"{_BODY}.read_body"),
    "timestamp": Rule("wire date", "streams.messages.timestamps.parse_iso"),
    "voter_name": Rule("wire id", f"{_BODY}.read_update"),
    "poll_id": Rule("number", "streams.core.polls.is_number"),
    "option_id": Rule("number", "streams.core.polls.is_number"),
    "electionId": _TALLY,
    "guardianId": _TALLY,
    "mode": Rule("word", "streams.tally.messages.command_of"),
    "chunkSize": Rule("number", "streams.tally.messages.command_of"),
    "body": Rule("body", "streams.messages.decode.decode"),
    "command": Rule("body", "streams.tally.messages.command_of"),
}

_NAME: Final = Rule("contest", "streams.cli.values.contest_name")
_COUNT: Final = Rule("number", PARSER)
_SECONDS: Final = Rule("seconds", "streams.cli.values.finite")
_WORD: Final = Rule("word", PARSER)
_SHARE: Final = Rule("seconds", "streams.cli.publish.WorkShare")
_ARGUMENT: Final = Rule("text", ALL)
_DATE: Final = Rule("date", "streams.core.dates.parse_begin")


def _file(reader: str) -> Rule:
    return Rule("file", reader)


_DOCUMENT: Final = _file("streams.tally.files.read_document")

COMMANDS: Final[dict[str, Rule]] = {
    **dict.fromkeys(("law", "contests", "name"), _NAME),
    **dict.fromkeys(
        (
            *("ballots", "brokers", "chunk_size", "elect", "laws", "limit", "lines", "offset"),
            *("order", "partition", "quorum", "sample", "seed", "voters", "votes", "workers"),
        ),
        _COUNT,
    ),
    **dict.fromkeys(("wait", "interval", "deadline", "rate"), _SECONDS),
    **dict.fromkeys(("duplicates", "invalid_choice", "malformed", "repeats", "unknown"), _SHARE),
    "guardian decrypt ballots": _DOCUMENT,
    "publish candidates": _SHARE,
    "tally demo candidates": _COUNT,
    **dict.fromkeys(("file_format", "form", "kind", "mode", "queue_type", "roll", "table"), _WORD),
    "worker level": _ARGUMENT,
    "vote contest": _NAME,
    "vote choice": _ARGUMENT,
    "vote region": _ARGUMENT,
    "vote gateway": _ARGUMENT,
    "console new_key": Rule("text", "streams.console.keys.ENTRY"),
    "election": _ARGUMENT,
    "tables get election": _NAME,
    "tables scan election": _NAME,
    "tables export election": _NAME,
    "guardian new name": Rule("name", "streams.cli.values.file_name"),
    "tally manifest contests": _ARGUMENT,
    "tally challenge election": _DOCUMENT,
    "tally challenge code": _ARGUMENT,
    **dict.fromkeys(
        (
            "election count name",
            "election withdraw name",
            "election lot name",
            "election eligible name",
            "election seed commit name",
            "election seed reveal name",
        ),
        _NAME,
    ),
    **dict.fromkeys(
        ("candidate", "tied", "eliminates", "elects"),
        Rule("id", "streams.core.conduct.conduct_fault"),
    ),
    "election withdraw reason": Rule("text", "streams.core.conduct.conduct_fault"),
    "election eligible number": _COUNT,
    **dict.fromkeys(
        ("election seed commit file", "election seed reveal file"),
        _file("streams.cli.election.facts"),
    ),
    "title": Rule("text", "streams.core.contests.draft"),
    "choices": Rule("text", "streams.core.contests.draft"),
    "since": Rule("date", "streams.cli.since.parse_since"),
    **dict.fromkeys(("opens", "closes", "until"), _DATE),
    "by": Rule("text", "streams.cli.contest.commands"),
    **dict.fromkeys(("hashes", "entry"), Rule("hash", "streams.cli.roll.hash_kind.HashCheck")),
    "vote_hash": _ARGUMENT,
    **dict.fromkeys(
        (
            "at",
            "column",
            "weights",
            "confirm",
            "from_schema",
            "from_database",
            "vote_service",
            "guardians",
            "head",
        ),
        _ARGUMENT,
    ),
    **dict.fromkeys(
        (
            "ingress",
            "kafka_heap",
            "layout",
            "missing",
            "queue",
            "reason",
            "service",
            "services",
            "signal_name",
        ),
        _ARGUMENT,
    ),
    **dict.fromkeys(("given", "systems", "topic", "url"), _ARGUMENT),
    "workers_key": _ARGUMENT,
    "old": Rule("address", "streams.cli.compare"),
    "new": Rule("address", "streams.cli.compare"),
    **dict.fromkeys(
        ("backups", "file", "key", "keys", "manifest_file", "record", "secret", "to_decrypt"),
        _DOCUMENT,
    ),
    "contest import file": _file("streams.cli.contest.changes.read_table"),
    "files": _file("streams.cli.roll.files.RollFiles"),
    "election import files": _file("streams.cli.election.commands.read_tables"),
    "election ballots files": _file("streams.elections.files.formats.open_ballots"),
    "election ballots election": _NAME,
    **dict.fromkeys(("contest", "candidate", "region"), _ARGUMENT),
    **dict.fromkeys(("from_row", "skip", "papers", "seats"), _COUNT),
    "audit sample count": _COUNT,
    "audit trail contest": _NAME,
    "election tabulate file": _file("streams.elections.files.formats.open_ballots"),
    "election tabulate by": _WORD,
    "election export name": _NAME,
    **dict.fromkeys(("issuer", "language"), _ARGUMENT),
    "election map file": _file("streams.elections.maps.geojson.read_map"),
    "election map election": _NAME,
    "election map property_name": _ARGUMENT,
    "election compare name": _NAME,
    "election compare other": _file("streams.cli.election.compare"),
    "election allot file": _file("streams.cli.election.allot"),
    "election allot by": _WORD,
    "election allot threshold": Rule("number", "streams.core.conduct.share_of"),
    "election allot first_divisor": Rule("number", "streams.cli.election.allot"),
    **dict.fromkeys(("rules", "lot"), _ARGUMENT),
    "audit sample seed": _ARGUMENT,
    "audit sample manifest": _file("streams.elections.audits.sampling.read_manifest"),
    "audit risk sample_file": _file("streams.cli.audit.commands"),
    "audit risk votes": _ARGUMENT,
    "audit risk method": _WORD,
    "audit risk limit": _COUNT,
    "audit receipt file": _file("streams.proof.receipts.read_receipt"),
    "audit receipt key": _ARGUMENT,
    "audit receipt receipt_id": _ARGUMENT,
    "audit receipt gateway": _ARGUMENT,
    "audit receipt message": _file("streams.messages.decode.identity_of"),
    "audit receipt message_id": _ARGUMENT,
    "audit publish folder": _file("streams.proof.bundle"),
    "audit publish key": _ARGUMENT,
    **dict.fromkeys(("public", "tally", "witness"), _ARGUMENT),
    "audit verify key": _ARGUMENT,
    "audit verify seen": _file("streams.proof.checkpoints"),
    "audit verify processes": _COUNT,
    "audit verify in_memory": _COUNT,
    "audit cosigned folder": _file("streams.proof.checkpoints"),
    "audit cosigned witness_key": _ARGUMENT,
    "audit witness source": _ARGUMENT,
    "audit witness state": _file("streams.proof.witness.Witness"),
    "audit witness key": _ARGUMENT,
    "audit witness sign_with": _file("streams.proof.notes"),
    "audit witness name": _ARGUMENT,
    "audit witness compare": _ARGUMENT,
    "audit witness out": _file("streams.cli.audit.witness"),
    "audit witness post_to": _ARGUMENT,
    "audit witness every_s": _SECONDS,
    "audit checkpoint post_to": _ARGUMENT,
    "audit key name": _ARGUMENT,
    "audit key file": _file("streams.cli.audit.checkpoint"),
    "audit checkpoint key_file": _file("streams.proof.notes"),
    "audit checkpoint following": _ARGUMENT,
    "audit checkpoint every_s": _SECONDS,
    "audit checkpoint out": _file("streams.cli.audit.checkpoint"),
    "expected": _file("streams.load.expected.read_expected"),
    "from_expected": _file("streams.load.expected.read_expected"),
    "webhook add url": Rule("address", "streams.gateway.webhooks.destinations.checked_url"),
    "webhook add contest": _NAME,
    **dict.fromkeys(("event", "webhook", "delivery"), _ARGUMENT),
    **dict.fromkeys(("directory", "output", "passphrase_file"), _file(ALL)),
}

RECORDS: Final[dict[str, Rule]] = {
    name: Rule("record", f"{MODEL}.{name}")
    for name in (
        "decode_input",
        "decode_voted",
        "decode_verdicts",
        "decode_notice",
        "decode_window_key",
        "decode_window_state",
    )
}

REDIS: Final[dict[str, Rule]] = {
    "CHANNEL": Rule("record", "streams.core.live_totals.read_message"),
    "VALID_HASHES": Rule("table", "streams.adapters.redis.roll.VALID_HASHES"),
    **dict.fromkeys(
        (
            *("VOTED_HASHES", "COUNTER_PREFIX", "PATTERNS_SEEN", "PATTERN_PREFIX"),
            *("PATTERN_OFFSETS", "THROTTLE_PREFIX"),
        ),
        Rule("table", "streams.maintenance.mirror"),
    ),
}

_CRYPTO: Final = Rule("table", "streams.tally.crypto.verify_ballot")
TABLES: Final[dict[str, Rule]] = {
    "contests": Rule("table", "streams.core.contests.may_become"),
    "control_commands": Rule("table", "schemas.codec.decode_input"),
    "roll_loads": Rule("table", "streams.control.roll_loader"),
    "operator_actions": Rule("table", "streams.control.trail"),
    "rejected_counts": Rule("table", "streams.elections.contest_store"),
    "sink_offsets": Rule("table", "streams.core.fence"),
    **dict.fromkeys(
        (
            *("proof_starts", "proof_leaves", "proof_nodes"),
            *("proof_checkpoints", "proof_cosignatures"),
        ),
        Rule("table", "streams.proof.store"),
    ),
    **dict.fromkeys(
        ("political_parties", "regions", "elections", "candidates", "election_maps"),
        Rule("table", "streams.elections.store.read_definitions"),
    ),
    **dict.fromkeys(
        ("webhooks", "webhook_deliveries"),
        Rule("table", "streams.gateway.webhooks.destinations.checked_url"),
    ),
    **dict.fromkeys(
        ("election_counts", "election_rounds", "election_seats"),
        Rule("table", "streams.elections.store.count"),
    ),
}
OTHER_TABLES: Final = _CRYPTO
"""Of the encrypted tally: every row is checked again by those who verify."""
STATUS: Final = Rule("ignored", "streams.runtime.status_server.StatusServer")
