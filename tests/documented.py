"""Every command of README and docs/, and which test runs it.

A command that is shown is in exactly one of three places: the session of
`tests/integration/test_operator_session.py` types it, `ELSEWHERE` names the test that runs it,
or `NOT_HERE` says why it cannot be run by a test and which test does the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_FENCED = re.compile(r"^```(?:sh|sql)\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
_PROGRAMS = (
    "scrutin",
    "make",
    "python -m",
    "faust",
    "docker",
    "kubectl",
    "psql",
    "curl",
    "printf",
    "rabbitmq-diagnostics",
    "SELECT",
    "ALTER",
    "DROP",
)
_INLINE = re.compile(rf"`((?:[A-Z_]+=\S+ )?(?:{'|'.join(_PROGRAMS)})\s[^`…]+)`")
_SENTENCE = ("SELECT", "ALTER", "DROP", "printf")
"""Begin a text that is one command, with or without bars."""


@dataclass(frozen=True)
class Shown:
    """A command on a page."""

    page: str
    text: str
    """In one line, without comments; `$()` stands for what a shell puts in."""


def shown(page: Path) -> list[Shown]:
    """The commands of a page, in their order within blocks, then those in sentences."""
    text = page.read_text(encoding="utf-8")
    found = [part for block in _FENCED.findall(text) for part in _pieces(block)]
    for inline in _INLINE.findall(_FENCED.sub("", text)):
        found += _alternatives(" ".join(inline.split()))
    return [Shown(page.name, part.strip()) for part in found if part.strip()]


def _pieces(block: str) -> list[str]:
    """Single commands of a block, without comments."""
    text = re.sub(r"\\\n\s*", " ", block)
    text = re.sub(r"(^|\s)#.*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"\$\([^)]*\)", "$()", text)
    return re.split(r"&&|\|\||[|;\n]|(?<!&)&(?!&)", text)


def _alternatives(command: str) -> list[str]:
    """`contest open|close` is two commands."""
    if command.startswith(_SENTENCE):
        return [command]
    before, bar, after = command.partition("|")
    if not bar:
        return [command]
    *path, first = before.split()
    return [" ".join([*path, each]) for each in (first, *after.split("|"))]


SHOWN = [each for page in PAGES for each in shown(page)]


_PROCESS = (
    "tests/unit/cli/test_processes.py::test_the_process_reads_its_settings_and_gives_its_exit_code"
)
_OUTPUT = "tests/unit/cli/test_every_command.py::"
_CLI_TABLES = "tests/integration/test_cli_tables.py::"
_CLI_SERVICES = "tests/integration/test_cli_services.py::"
_CLI_TALLY = (
    "tests/integration/test_cli_tally.py::"
    "test_an_election_is_held_with_secrets_at_home_and_one_that_is_sealed"
)
_CHALLENGE = "tests/unit/tally/test_challenge.py::test_the_command_takes_a_definition_or_a_record"
_CONTESTS = "tests/integration/test_contests.py::test_contests_from_draft_to_final"
_CHECKPOINTS = "tests/integration/test_sink_proof.py::test_checkpoints_are_signed_by_commands"
_RECEIPTS = "tests/integration/test_gateway_receipts.py::test_receipts_from_the_vote_to_its_proof"
_RECOUNT = "tests/integration/test_recount.py::test_each_kind_of_tampering_is_named"
_AUDIT = "tests/unit/cli/test_audit.py::"
_ALLOT = "tests/unit/cli/test_allot.py::test_seats_of_lists"
_TABULATE = "tests/unit/cli/test_tabulate.py::test_a_file_is_counted_without_a_service"
_LARGE = "tests/acceptance/test_election_pages.py::test_pages_of_large_elections"
_ELECTIONS = "tests/integration/test_elections.py::test_elections_of_both_methods"
_PUBLISHED = "tests/published/test_published.py::test_minneapolis_two_workbooks"
_ROLL = "tests/integration/test_roll.py::test_the_roll_in_the_log"
_MIRROR = "tests/integration/test_mirror.py::test_check_and_rebuild_as_a_user"
_REBUILD = "tests/integration/test_rebuild.py::"
_ADOPT = "tests/integration/test_adopt.py::"
_COMPAT = "tests/integration/test_compat.py::test_clients_of_the_vote_counting_and_of_the_polls"
_COMPAT_TALLY = "tests/integration/test_compat.py::test_the_web_client_of_the_encrypted_tally"
_POLLS = "tests/integration/test_adopt_polls.py::test_polls_continue_where_they_were"
_CUTOVER = "tests/integration/test_cutover.py::test_a_shadow_run_a_switch_and_the_way_back"
_STACK = "tests/integration/test_stack.py::"
_DEMO = "tests/acceptance/test_demo.py::test_every_figure_is_equal_and_nothing_is_left"
_HELD = "tests/acceptance/test_demo.py::test_held_until_interrupted_and_refused_beside_another"

_WEBHOOKS = "tests/integration/test_gateway_webhooks.py::test_changes_arrive_signed_and_with_one_id"
ELSEWHERE = {
    "scrutin stack up --queue-type quorum": (
        "tests/integration/test_stack.py::test_two_rabbitmq_nodes_live_beside_each_other"
    ),
    "scrutin worker": _PROCESS,
    "scrutin bridge": _PROCESS,
    "scrutin gateway": _PROCESS,
    "scrutin webhook add URL": _WEBHOOKS,
    "scrutin webhook add https://news.example/hook --contest election:7 --event final": _WEBHOOKS,
    "scrutin webhook log": _WEBHOOKS,
    "scrutin webhook run": _PROCESS,
    "python -m streams.gateway.webhooks": _PROCESS,
    "python -m streams.console": _PROCESS,
    "scrutin vote C-42 oui": (
        "tests/integration/test_gateway_votes.py::test_votes_are_confirmed_counted_and_told_of"
    ),
    "scrutin --install-completion": _OUTPUT + "test_completion_is_written_where_the_shell_looks",
    "scrutin --show-completion": _OUTPUT + "test_the_completion_is_shown",
    "scrutin console": "tests/integration/test_console.py::test_two_operators_at_the_console",
    "SCRUTIN_CONSOLE_OPERATORS=alice=... scrutin console": (
        "tests/integration/test_console.py::test_two_operators_at_the_console"
    ),
    "scrutin migrate --wait 600": (
        "tests/integration/test_migrations.py::"
        "test_processes_wait_for_the_migrations_of_their_version"
    ),
    "scrutin console --new-key NAME": (
        "tests/unit/cli/test_processes.py::test_a_key_for_the_console"
    ),
    "scrutin console --new-key alice": (
        "tests/unit/cli/test_processes.py::test_a_key_for_the_console"
    ),
    "scrutin version": "tests/unit/cli/test_processes.py::test_the_version_is_that_of_the_project",
    "make installs": "tests/integration/test_installs.py",
    "SCRUTIN_STAGES=tally faust -A topology worker -l info": _CLI_TALLY,
    "scrutin results [LAW] [--watch]": _CLI_SERVICES + "test_watched_results_on_a_terminal",
    "scrutin results --json": _CONTESTS,
    "scrutin results 1": _ELECTIONS,
    "scrutin lag": _CLI_SERVICES + "test_lag_of_a_new_deployment",
    "scrutin doctor": _CLI_SERVICES + "test_doctor_of_a_good_deployment",
    "scrutin settings": _CLI_SERVICES + "test_settings_hide_passwords",
    "scrutin tables list": _CLI_TABLES + "test_list_tells_both_tables",
    "scrutin tables stats": _CLI_TABLES + "test_stats_count_everything",
    "scrutin tables get voted HASH": _CLI_TABLES + "test_get_by_hash_in_any_case",
    "scrutin tables scan voted --law law-001": _CLI_TABLES + "test_scan_of_one_contest",
    "scrutin tables scan windows": _CLI_TABLES + "test_scan_windows_shows_the_latest_value",
    "scrutin contest create": _CONTESTS,
    "scrutin contest open": _CONTESTS,
    "scrutin contest extend": _CONTESTS,
    "scrutin contest close": _CONTESTS,
    "scrutin contest show": _CONTESTS,
    "scrutin contest show C-42": _CONTESTS,
    "scrutin contest show CONTEST": _CONTESTS,
    "scrutin contest show CONTEST --json": _CONTESTS,
    "scrutin contest open election:1": _ELECTIONS,
    "scrutin election import": _ELECTIONS,
    "scrutin election import FILE": _ELECTIONS,
    "scrutin election import FILE...": _ELECTIONS,
    "scrutin audit sample manifest.csv --seed 35463115561121636246 --count 50": (
        _AUDIT + "test_draws_of_a_manifest"
    ),
    "scrutin audit sample": _AUDIT + "test_draws_of_a_manifest",
    "scrutin audit key": _CHECKPOINTS,
    "scrutin audit checkpoint": _CHECKPOINTS,
    "scrutin audit receipt FILE": _RECEIPTS,
    "scrutin audit verify": _RECOUNT,
    "scrutin audit trail": _CONTESTS,
    "scrutin audit verify --key KEY --seen checkpoints": _RECOUNT,
    "scrutin audit witness SOURCE STATE": _RECEIPTS,
    "scrutin audit cosigned FOLDER": _RECEIPTS,
    "scrutin audit receipt mine.json --key KEY --id RECEIPT --gateway URL": _RECEIPTS,
    "scrutin audit publish": _ELECTIONS,
    "scrutin audit risk": _AUDIT + "test_the_risk_of_a_sample",
    "scrutin audit risk seen.csv --votes Ann=6000 --votes Bob=4000 --papers 10200": (
        _AUDIT + "test_the_risk_of_a_sample"
    ),
    "scrutin audit risk seen.csv --votes Ann=6000 --votes Bob=4000 --papers 10200"
    " --method comparison": _AUDIT + "test_the_risk_of_a_sample",
    "scrutin election tabulate ward5.blt --by scottish": _TABULATE,
    "scrutin election tabulate ward5.blt --by runoff --seats 1 --rules maine": _TABULATE,
    "scrutin election tabulate FILE": _TABULATE,
    "scrutin election export 1 --format nist-json -o report.json --issuer 'Electoral Office'": (
        _ELECTIONS
    ),
    "scrutin election export ID": _ELECTIONS,
    "scrutin election compare ID --with FILE": _ELECTIONS,
    "scrutin election compare 1 --with maine": _ELECTIONS,
    "scrutin election compare 1 --with config.json": _ELECTIONS,
    "scrutin election allot FILE": _ALLOT,
    "scrutin election allot votes.csv --by dhondt --seats 12 --threshold 5%": _ALLOT,
    "scrutin election list": _ELECTIONS,
    "scrutin election map ID FILE": _LARGE,
    "scrutin election map 1 regions.geojson --property code": _LARGE,
    "scrutin election map 1 --remove": _LARGE,
    "scrutin election ballots 1 ward5.blt": _ELECTIONS,
    "scrutin election ballots 1 ward5.blt --dry-run": _ELECTIONS,
    "scrutin election ballots ID FILE": _ELECTIONS,
    "scrutin election count": _ELECTIONS,
    "scrutin election count 1": _ELECTIONS,
    "scrutin election count ID": _ELECTIONS,
    "scrutin election withdraw": _ELECTIONS,
    "scrutin election withdraw 1 12 --reason dead": _ELECTIONS,
    "scrutin election lot 1 11 12 --eliminates 12": _ELECTIONS,
    "scrutin election eligible 1 48211": _ELECTIONS,
    "scrutin election seed commit 1 --file seed.txt": _ELECTIONS,
    "scrutin election seed reveal 1 --file seed.txt": _ELECTIONS,
    "scrutin election import --from-schema scrutin_replaced": (
        _ADOPT + "test_undo_puts_everything_back"
    ),
    "scrutin roll load FILE": _ROLL,
    "scrutin roll load FILE...": _ROLL,
    "scrutin roll load FILE --contest poll:ID": (
        "tests/integration/test_gateway_poll_life.py::"
        "test_a_poll_from_its_creation_to_its_final_result"
    ),
    "scrutin roll load shares.csv --contest election:1 --weights shares": _ROLL,
    "scrutin roll load FILE --dry-run": "tests/unit/cli/test_roll_files.py::"
    "test_a_dry_run_shows_the_first_rows_as_understood_and_needs_no_service",
    "scrutin roll add HASH...": _ROLL,
    "scrutin roll withdraw HASH...": _ROLL,
    "scrutin roll stats": _ROLL,
    "scrutin roll check HASH": _ROLL,
    "scrutin roll export": _ROLL,
    "scrutin mirror check": _MIRROR,
    "scrutin mirror rebuild": _MIRROR,
    "scrutin reset": "tests/integration/test_reset.py::test_a_rehearsal_is_emptied_while_it_runs",
    "scrutin reset --confirm NAME": (
        "tests/integration/test_reset.py::test_a_rehearsal_is_emptied_while_it_runs"
    ),
    "scrutin verify": "tests/integration/test_load_verify.py::"
    "test_exact_and_no_damage_goes_unnoticed",
    "scrutin publish": "tests/integration/test_load_verify.py::"
    "test_exact_and_no_damage_goes_unnoticed",
    "scrutin rebuild voted": _REBUILD + "test_a_lost_changelog",
    "scrutin rebuild validated": _REBUILD + "test_spoilt_topics",
    "scrutin rebuild postgres": _REBUILD + "test_a_spoilt_database",
    "scrutin rebuild postgres --dry-run": _REBUILD + "test_a_spoilt_database",
    "scrutin rebuild voted --dry-run": (
        _REBUILD + "test_a_record_of_the_log_that_cannot_be_decoded"
    ),
    "scrutin rebuild validated --dry-run": (
        _REBUILD + "test_a_record_of_the_log_that_cannot_be_decoded"
    ),
    "scrutin rebuild log": _REBUILD + "test_a_log_that_lost_its_end_and_one_that_was_recreated",
    "scrutin rebuild log --from-audit": (
        _REBUILD + "test_a_log_from_the_database_where_all_of_kafka_is_gone"
    ),
    "scrutin fresh": _REBUILD + "test_a_new_count_on_purpose",
    "scrutin skip": _REBUILD + "test_a_record_of_the_log_that_cannot_be_decoded",
    "scrutin skip TOPIC PARTITION OFFSET": (
        _REBUILD + "test_a_record_of_the_log_that_cannot_be_decoded"
    ),
    "scrutin skip votes.validation 3 18204": (
        _REBUILD + "test_a_record_of_the_log_that_cannot_be_decoded"
    ),
    "scrutin adopt": _ADOPT + "test_an_adopted_election_is_the_old_one",
    "scrutin adopt --dry-run": _ADOPT + "test_an_adopted_election_is_the_old_one",
    "scrutin adopt --accept-differences --wait 600": (
        _ADOPT + "test_where_the_old_system_disagrees_with_itself"
    ),
    "scrutin adopt --undo": _ADOPT + "test_undo_puts_everything_back",
    "scrutin adopt --from-database voting": _CUTOVER,
    "scrutin adopt --from-database poll_db --vote-service vote_db --dry-run": _POLLS,
    "scrutin compare poll_db": _POLLS,
    "scrutin compat http://localhost:8000": _COMPAT,
    "scrutin compat http://localhost:8000 vote_counting polls --services"
    " --set election_id=1 --set region_id=10 --set candidate_id=11": _COMPAT,
    "scrutin compat http://localhost:8000 tally --set election=123": _COMPAT_TALLY,
    "scrutin compare OLD [NEW]": _CUTOVER,
    "scrutin compare voting --watch": _CUTOVER,
    "scrutin compare voting --wait 60": _CUTOVER,
    "scrutin guardian new": _CLI_TALLY,
    "scrutin guardian backup": _CLI_TALLY,
    "scrutin guardian check": _CLI_TALLY,
    "scrutin guardian seal": _CLI_TALLY,
    "scrutin guardian decrypt": _CLI_TALLY,
    "scrutin tally manifest": _CLI_TALLY,
    "scrutin tally setup": _CLI_TALLY,
    "scrutin tally admit": _CLI_TALLY,
    "scrutin tally admit --cast": _CLI_TALLY,
    "scrutin tally admit ELECTION FILE": _CLI_TALLY,
    "scrutin tally collect": _CLI_TALLY,
    "scrutin tally collect ELECTION": _CLI_TALLY,
    "scrutin tally create": _CLI_TALLY,
    "scrutin tally products": _CLI_TALLY,
    "scrutin tally products ELECTION -o products.json": _CLI_TALLY,
    "scrutin tally decrypt": _CLI_TALLY,
    "scrutin tally upload": _CLI_TALLY,
    "scrutin tally combine": _CLI_TALLY,
    "scrutin tally resume": _CLI_TALLY,
    "scrutin tally status --watch": _CLI_TALLY,
    "scrutin tally results": _CLI_TALLY,
    "scrutin tally challenge": _CHALLENGE,
    "scrutin tally challenge FILE DEFINITION --code CODE": _CHALLENGE,
    "scrutin tally export": _CLI_TALLY,
    "scrutin tally export ELECTION DIRECTORY": _CLI_TALLY,
    "scrutin tally verify": _CLI_TALLY,
    "scrutin tally verify DIRECTORY": _CLI_TALLY,
    "scrutin stack down": _STACK + "test_ctrl_c_ends_what_up_has_started",
    "scrutin stack logs SERVICE": _STACK + "test_logs_are_there",
    "make demo": _DEMO,
    "make demo HOLD=1": _HELD,
    "scrutin demo --tls": _DEMO,
}
"""Command -> the test that runs it: with other names and files, with the same words and options."""


@dataclass(frozen=True)
class NotHere:
    """Why no test runs a command."""

    why: str
    instead: str
    """The file, or the test, that does the same natively."""


_ENGINE = "needs a container engine"
_LONG = "takes minutes to hours"
_ITSELF = "is what runs the tests"
_TARGETS = "tests/unit/pages/test_documented_commands.py::test_a_target_passes_its_arguments_on"
_COMPOSE = "tests/unit/docker/test_deployment_files.py::test_compose_runs_what_the_tests_run"
_TALLY_DEATHS = (
    "tests/integration/test_tally_election.py::"
    "test_an_election_with_a_guardian_absent_while_workers_die"
)
_BENCH = NotHere(_LONG, _TARGETS)
_TUTORIAL = NotHere(
    "a site of somebody else's that shows the chart",
    "tests/acceptance/test_results_pages.py::test_pages_of_results",
)
_CHAOS = NotHere(_LONG, "tests/faults/test_short.py::test_the_count_is_exact")
_BROKERS = NotHere(
    "three of Java's virtual machines; `make brokers` does it",
    "tests/integration/test_brokers.py::test_a_broker_killed_under_load_loses_nothing",
)

NOT_HERE = {
    'export SCRUTIN_SECRET="$()" SCRUTIN_ROLL=open'
    " SCRUTIN_EMBED_ORIGINS=http://localhost:9000": _TUTORIAL,
    "scrutin election import docs/examples/town.json --wait 60": _TUTORIAL,
    "scrutin contest open election:1 --wait 60": _TUTORIAL,
    "curl localhost:8000/api/v1/elections/vote -H 'Content-Type: application/json'"
    '  -d \'{"nas": "123456781", "code": "ABC123",'
    ' "election_id": 1, "candidate_id": 1}\'': _TUTORIAL,
    "python -m http.server 9000 --directory docs/examples/site": _TUTORIAL,
    "make screenshots": NotHere(_LONG, "tests/acceptance/test_election_pages.py"),
    "docker compose -f docker/compose.yaml up --build": NotHere(_ENGINE, _COMPOSE),
    "docker compose -f docker/compose.yaml up --build --scale worker=3": NotHere(_ENGINE, _COMPOSE),
    "docker compose -f docker/compose.yaml --profile webhooks --profile console up": NotHere(
        _ENGINE, _COMPOSE
    ),
    "docker compose -f docker/compose.yaml --profile monitoring up": NotHere(
        _ENGINE,
        "tests/integration/test_monitoring.py::test_alerts_fire_and_resolve_and_every_panel_has_data",
    ),
    "make helm": NotHere("fetches Helm", "tests/unit/docker/test_helm.py"),
    "kubectl apply -k docker/kubernetes": NotHere(
        "needs a cluster",
        "tests/unit/docker/test_deployment_files.py::test_kubernetes_runs_what_the_tests_run",
    ),
    "make demo-tally": NotHere("takes two minutes", _TALLY_DEATHS),
    "make test": NotHere(_ITSELF, _TARGETS),
    "make unit": NotHere(_ITSELF, _TARGETS),
    "SCRUTIN_TEST_STACK_DIR=.stack python -m pytest tests/integration/test_worker.py": NotHere(
        _ITSELF, "tests/integration/test_worker.py"
    ),
    "make setup": NotHere("made the environment that the tests run in", _TARGETS),
    ". .venv/bin/activate": NotHere("the tests run in that environment", _TARGETS),
    "make lint audit pythons": NotHere("runs beside the tests in CI", _TARGETS),
    "make lint": NotHere("runs beside the tests in CI", _TARGETS),
    "python -m tests.doors": NotHere(
        "a test compares the page with what it would write", "tests/unit/doors/test_doors.py"
    ),
    "python -m tests.tools.prose": NotHere("runs in `make lint`", "tests/unit/test_prose.py"),
    "make audit": NotHere("asks a server", "tests/unit/programs/test_audit.py"),
    "make lock": NotHere("asks package registries", _TARGETS),
    "make adopt": NotHere(_LONG, _ADOPT + "test_an_adopted_election_is_the_old_one"),
    "make brokers": _BROKERS,
    "scrutin stack up --brokers 3": _BROKERS,
    "scrutin stack stop kafka-2 --signal KILL": _BROKERS,
    "scrutin stack start kafka-2": _BROKERS,
    "make junk": NotHere(_LONG, "tests/acceptance/test_junk.py::test_junk_before_honest_votes"),
    "make long-roll": NotHere(_LONG, _ROLL),
    "make long-tally": NotHere(_LONG, _TALLY_DEATHS),
    "make bench": _BENCH,
    'make bench BENCH_ARGS="--only NAME"': _BENCH,
    "make bench BENCH_ARGS=--long": _BENCH,
    'make bench BENCH_ARGS="--only growth --long --json growth.json"': _BENCH,
    "python -m tests.bench.growth_plot growth.json growth.svg": NotHere(
        _LONG, "tests/unit/programs/test_bench.py::test_growth_is_drawn"
    ),
    'make bench BENCH_ARGS="--quick --only NAME"': _BENCH,
    "make bench-gateway": _BENCH,
    "make bench-gateway FIGURES=gateway-seen": _BENCH,
    "make bench-gateway BENCH_ARGS=--quick": _BENCH,
    "make bench-compare REV=main~5": _BENCH,
    "python -m tests.bench.runoff": NotHere(
        _LONG, "tests/unit/elections/test_counting.py::test_rounds_are_those_of_a_slow_count"
    ),
    "python -m tests.bench.trees": NotHere(
        _LONG, "tests/integration/test_sink_proof.py::test_checkpoints_are_signed_by_commands"
    ),
    "python -m tests.bench.leaves": NotHere(
        _LONG, "tests/integration/test_sink_proof.py::test_checkpoints_are_signed_by_commands"
    ),
    "python -m tests.bench.recount_memory": NotHere(
        _LONG, "tests/unit/maintenance/test_recount.py::test_rows_of_all_partitions_are_read_once"
    ),
    "python -m tests.bench.bundle": NotHere(
        _LONG, "tests/acceptance/test_verify_page.py::test_a_bundle_is_checked_from_a_file"
    ),
    "python -m tests.bench.ballot_files": NotHere(
        _LONG,
        "tests/unit/elections/files/test_readers.py::test_files_of_the_benchmark_are_read_whole",
    ),
    "python -m tests.bench.decode REV": NotHere(
        _LONG,
        "tests/unit/messages/test_quick.py::test_both_ways_agree_on_generated_and_mutated_bodies",
    ),
    "python -m tests.published": NotHere(_LONG, _PUBLISHED),
    "python -m tests.published KIND FILE...": NotHere(_LONG, _PUBLISHED),
    "make bench-tally": NotHere(_LONG, "tests/oracle/test_reference.py"),
    "python -m tests.bench.ballot_page": NotHere(_LONG, "tests/acceptance/test_ballot_page.py"),
    "python -m tests.bench.tally_compare REV --ballots 10000 --size 5000": NotHere(
        _LONG, "tests/unit/tally/test_steps.py"
    ),
    "make hostile": NotHere(
        _LONG, "tests/hostile/test_short.py::test_honest_clients_see_nothing_of_hostile_ones"
    ),
    "make fuzz": NotHere(_LONG, "tests/fuzz/test_seeds.py::test_every_seed_passes"),
    "make platforms": NotHere(
        "needs root and a mirror of Debian",
        "tests/integration/test_queue_losses.py"
        "::test_ends_of_bridges_while_the_roll_is_missing_cost_no_vote",
    ),
    "python -m tests.platforms.ends": NotHere(
        _LONG,
        "tests/integration/test_queue_losses.py"
        "::test_ends_of_bridges_while_the_roll_is_missing_cost_no_vote",
    ),
    "make pythons": NotHere(_LONG, _TARGETS),
    "make chaos": _CHAOS,
    'make chaos CHAOS_ARGS="--only storm --seeds 1"': _CHAOS,
    'make chaos CHAOS_ARGS="--only rolling-restart"': _CHAOS,
    "python -m tests.faults.figures": NotHere(
        "writes what a run of `make chaos` found", "tests/unit/programs/test_fault_figures.py"
    ),
    "rabbitmq-diagnostics alarms": NotHere(
        "asks the node of a host, not one of a stack", "tests/faults/scenarios_rabbitmq.py"
    ),
    "ALTER TABLE public.vote_audit SET SCHEMA scrutin_undone": NotHere(
        "`scrutin adopt --undo` does it", _ADOPT + "test_undo_puts_everything_back"
    ),
    "ALTER TABLE scrutin_replaced.vote_audit SET SCHEMA public": NotHere(
        "`scrutin adopt --undo` does it", _ADOPT + "test_undo_puts_everything_back"
    ),
    "DROP SCHEMA scrutin_adoption, scrutin_replaced CASCADE": NotHere(
        "PostgreSQL's own, on what another test makes", _ADOPT + "test_undo_puts_everything_back"
    ),
}
"""Command -> why no test runs it, and what does the same."""
