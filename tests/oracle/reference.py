"""Runs inside the reference's own environment: one JSON request a line in, one answer a line out.

It makes elections with electionguard 1.4.0 and judges what it is given; nothing of Scrutin is
imported here.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import random
import sys
import time
import types
from datetime import UTC, datetime
from pathlib import Path

ANSWERS, sys.stdout = sys.stdout, sys.stderr
"""The reference logs to what is standard output when it is imported."""

# From Python 3.11 on a dataclass refuses defaults that cannot be hashed, and the reference has one.
# Its package imports everything, so a stand-in lets the one module be patched first.
_spec = importlib.util.find_spec("electionguard")
_stand_in = types.ModuleType("electionguard")
_stand_in.__path__ = _spec.submodule_search_locations
sys.modules["electionguard"] = _stand_in
from electionguard.elgamal import ElGamalCiphertext  # noqa: E402

ElGamalCiphertext.__hash__ = lambda self: hash((self.pad, self.data))
del sys.modules["electionguard"]

from electionguard.ballot import (  # noqa: E402
    PlaintextBallot,
    PlaintextBallotContest,
    PlaintextBallotSelection,
    SubmittedBallot,
)
from electionguard.ballot_box import cast_ballot, spoil_ballot  # noqa: E402
from electionguard.ballot_validator import ballot_is_valid_for_election  # noqa: E402
from electionguard.constants import ElectionConstants, get_constants  # noqa: E402
from electionguard.decrypt_with_shares import decrypt_ballot, decrypt_tally  # noqa: E402
from electionguard.decryption import (  # noqa: E402
    compute_decryption_share,
    compute_lagrange_coefficients_for_guardians,
    reconstruct_decryption_share,
    reconstruct_decryption_share_for_ballot,
)
from electionguard.decryption_share import (  # noqa: E402
    CompensatedDecryptionShare,
    DecryptionShare,
)
from electionguard.discrete_log import DiscreteLog  # noqa: E402
from electionguard.election import (  # noqa: E402
    CiphertextElectionContext,
    make_ciphertext_election_context,
)
from electionguard.election_polynomial import (  # noqa: E402
    Coefficient,
    ElectionPolynomial,
    LagrangeCoefficientsRecord,
)
from electionguard.elgamal import ElGamalKeyPair  # noqa: E402
from electionguard.encrypt import EncryptionDevice, EncryptionMediator  # noqa: E402
from electionguard.group import (  # noqa: E402
    ElementModQ,
    div_p,
    g_pow_p,
    hex_to_q,
    mult_p,
)
from electionguard.guardian import Guardian, GuardianRecord  # noqa: E402
from electionguard.key_ceremony import (  # noqa: E402
    CeremonyDetails,
    ElectionKeyPair,
    ElectionPartialKeyBackup,
    ElectionPublicKey,
    combine_election_public_keys,
    generate_election_key_pair,
    verify_election_partial_key_backup,
)
from electionguard.manifest import (  # noqa: E402
    AnnotatedString,
    BallotStyle,
    Candidate,
    ContactInformation,
    ContestDescription,
    ElectionType,
    GeopoliticalUnit,
    InternalManifest,
    InternationalizedText,
    Language,
    Manifest,
    Party,
    ReportingUnitType,
    SelectionDescription,
    SpecVersion,
    VoteVariationType,
)
from electionguard.scheduler import Scheduler  # noqa: E402
from electionguard.serialize import from_file, from_raw, to_raw  # noqa: E402
from electionguard.tally import (  # noqa: E402
    CiphertextTally,
    PlaintextTally,
    PublishedCiphertextTally,
)

# Its package needs more than is installed; the module itself does not.
_tools = importlib.util.find_spec("electionguard_tools").submodule_search_locations[0]
_spec = importlib.util.spec_from_file_location("export", f"{_tools}/helpers/export.py")
exporting = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(exporting)

logging.getLogger("electionguard").setLevel(logging.ERROR)
DiscreteLog().set_max_exponent(100)


def _in_turn(_self, task, arguments, **_options):
    return [task(*each) for each in arguments]


# No processes of its own: this program is one already.
Scheduler._open = Scheduler.close = lambda _self: None
Scheduler.schedule = _in_turn


def raw(document):
    return json.loads(to_raw(document))


def read(kind, document):
    return from_raw(kind, json.dumps(document))


def make_manifest(rng):
    """One or two contests of two or three candidates, with every optional field somewhere."""
    contests, candidates = [], []
    for number in range(1, rng.randint(1, 2) + 1):
        lines = []
        for order in range(rng.randint(2, 3)):
            candidate = f"contest-{number}-candidate-{order}"
            name = InternationalizedText([Language(f"Käte {order}", "de")])
            candidates.append(Candidate(candidate, name, "party", is_write_in=False))
            lines.append(SelectionDescription(f"{candidate}-selection", order, candidate))
        seats = rng.randint(1, len(lines))
        title = InternationalizedText([Language("Who?", "en"), Language("Qui ?", "fr")])
        contests.append(
            ContestDescription(
                f"contest-{number}",
                number,
                "district",
                VoteVariationType.n_of_m,
                seats,
                rng.choice([None, seats]),
                f"Contest {number}",
                lines,
                title,
                rng.choice([None, title]),
            )
        )
    contact = ContactInformation(
        ["Somewhere 1"], [AnnotatedString("work", "a@example.org")], None, "Office"
    )
    return Manifest(
        f"election-{rng.randrange(10**9)}",
        SpecVersion.EG1_0,
        ElectionType.general,
        datetime(2026, 3, 1, 8, tzinfo=UTC),
        datetime(2026, 3, 1, 18, tzinfo=UTC),
        [GeopoliticalUnit("district", "District", ReportingUnitType.county, contact)],
        [Party("party", InternationalizedText([Language("Party", "en")]), "P", None, None)],
        candidates,
        contests,
        [BallotStyle("ballot", ["district"])],
        InternationalizedText([Language("An election", "en")]),
        rng.choice([None, contact]),
    )


def make_ballots(rng, manifest, context, cast, spoiled):
    mediator = EncryptionMediator(
        InternalManifest(manifest), context, EncryptionDevice(1, 2, 3, "here")
    )
    ballots, counts = [], {}
    for contest in manifest.contests:
        for line in contest.ballot_selections:
            counts[line.object_id] = 0
    for number in range(cast + spoiled):
        contests = []
        for contest in manifest.contests:
            lines = [line.object_id for line in contest.ballot_selections]
            chosen = rng.sample(lines, rng.randint(0, contest.number_elected))
            if number < cast:
                for name in chosen:
                    counts[name] += 1
            contests.append(
                PlaintextBallotContest(
                    contest.object_id, [PlaintextBallotSelection(name, 1) for name in chosen]
                )
            )
        plain = PlaintextBallot(f"ballot-{number}", "ballot", contests)
        encrypted = mediator.encrypt(plain)
        ballots.append((cast_ballot if number < cast else spoil_ballot)(encrypted))
    return ballots, counts


def add_up(manifest, context, ballots):
    tally = CiphertextTally("tally", InternalManifest(manifest), context)
    for ballot in ballots:
        assert tally.append(ballot, False)
    return tally


def do_election(request):
    """A whole election by the reference, with everything public and the guardians' secrets."""
    rng = random.Random(request["seed"])
    n, quorum, absent = request["guardians"], request["quorum"], request["absent"]
    manifest = make_manifest(rng)
    assert manifest.is_valid()
    details = CeremonyDetails(n, quorum)
    guardians = [
        Guardian(generate_election_key_pair(f"guardian-{i}", i, quorum), details)
        for i in range(1, n + 1)
    ]
    for guardian in guardians:
        for other in guardians:
            guardian.save_guardian_key(other.share_key())
        guardian.generate_election_partial_key_backups()
    for guardian in guardians:
        for other in guardians:
            if other is not guardian:
                backup = other.share_election_partial_key_backup(guardian.id)
                guardian.save_election_partial_key_backup(backup)
    keys = [guardian.share_key() for guardian in guardians]
    joint = combine_election_public_keys(keys)
    context = make_ciphertext_election_context(
        n, quorum, joint.joint_public_key, joint.commitment_hash, manifest.crypto_hash()
    )
    ballots, counts = make_ballots(rng, manifest, context, request["cast"], request["spoiled"])
    tally = add_up(manifest, context, ballots)
    present, missing = guardians[absent:], guardians[:absent]
    shares = {g.id: g.compute_tally_share(tally, context) for g in present}
    compensated = [
        g.compute_compensated_tally_share(m.id, tally, context) for g in present for m in missing
    ]
    plain = _decrypt(tally, list(shares.values()), compensated, keys, context, manifest=manifest)
    if "record" in request:
        spoiled = []
        for ballot in ballots[request["cast"] :]:
            own = [g.compute_ballot_shares([ballot], context)[ballot.object_id] for g in present]
            parts = [
                g.compute_compensated_ballot_shares(m.id, [ballot], context)[ballot.object_id]
                for g in present
                for m in missing
            ]
            spoiled.append(_decrypt(ballot, own, parts, keys, context, manifest=manifest))
        exporting.export_record(
            manifest,
            context,
            get_constants(),
            [EncryptionDevice(1, 2, 3, "here")],
            ballots,
            spoiled,
            tally.publish(),
            plain,
            [guardian.publish() for guardian in guardians],
            LagrangeCoefficientsRecord(
                compute_lagrange_coefficients_for_guardians([g.share_key() for g in present])
            ),
            request["record"],
        )
    return {
        "manifest": raw(manifest),
        "context": raw(context),
        "keys": [raw(key) for key in keys],
        "secrets": [
            {
                "owner_id": g.id,
                "sequence_order": g.sequence_order,
                "coefficients": [c.value for c in g._election_keys.polynomial.coefficients],
            }
            for g in guardians
        ],
        "backups": [
            raw(other.share_election_partial_key_backup(guardian.id))
            for guardian in guardians
            for other in guardians
            if other is not guardian
        ],
        "ballots": [raw(ballot) for ballot in ballots],
        "counts": counts,
        "tally": raw(tally.publish()),
        "shares": [raw(share) for share in shares.values()],
        "compensated": [raw(share) for share in compensated],
        "plain": raw(plain),
    }


def _decrypt(tally, shares, compensated, keys, context, *, manifest):
    """As its mediator does, for a tally or a ballot."""
    by_name = {key.owner_id: key for key in keys}
    everyone = {share.guardian_id: share for share in shares}
    weights = compute_lagrange_coefficients_for_guardians([by_name[name] for name in everyone])
    ballot = isinstance(tally, SubmittedBallot)
    for name in by_name.keys() - everyone.keys():
        parts = {p.guardian_id: p for p in compensated if p.missing_guardian_id == name}
        rebuild = (
            reconstruct_decryption_share_for_ballot if ballot else reconstruct_decryption_share
        )
        everyone[name] = rebuild(by_name[name], tally, parts, weights)
    decrypt = decrypt_ballot if ballot else decrypt_tally
    return decrypt(tally, everyone, context.crypto_extended_base_hash, manifest)


def _election(request):
    return read(Manifest, request["manifest"]), read(CiphertextElectionContext, request["context"])


def do_context(request):
    """What the reference makes of our manifest and guardians: validity, hashes, joint key."""
    manifest = read(Manifest, request["manifest"])
    keys = [read(ElectionPublicKey, key) for key in request["keys"]]
    joint = combine_election_public_keys(keys)
    context = make_ciphertext_election_context(
        len(keys),
        request["quorum"],
        joint.joint_public_key,
        joint.commitment_hash,
        manifest.crypto_hash(),
    )
    return {
        "valid": manifest.is_valid(),
        "proofs": all(proof.is_valid() for key in keys for proof in key.coefficient_proofs),
        "context": raw(context),
    }


def do_ballots(request):
    """Which ballots the reference accepts, proofs included."""
    manifest, context = _election(request)
    internal = InternalManifest(manifest)
    return [
        ballot_is_valid_for_election(read(SubmittedBallot, ballot), internal, context, True)
        for ballot in request["ballots"]
    ]


def do_tally(request):
    """The reference's own product of the ballots."""
    manifest, context = _election(request)
    ballots = [read(SubmittedBallot, ballot) for ballot in request["ballots"]]
    return raw(add_up(manifest, context, ballots).publish())


def do_decrypt(request):
    """Counts that the reference finds from our shares, or None where it refuses one."""
    manifest, context = _election(request)
    keys = [read(ElectionPublicKey, key) for key in request["keys"]]
    shares = [read(DecryptionShare, share) for share in request["shares"]]
    compensated = [read(CompensatedDecryptionShare, share) for share in request["compensated"]]
    if "ballot" in request:
        tally = read(SubmittedBallot, request["ballot"])
    else:
        published = read(PublishedCiphertextTally, request["tally"])
        tally = CiphertextTally(published.object_id, InternalManifest(manifest), context)
        tally.contests = published.contests
    plain = _decrypt(tally, shares, compensated, keys, context, manifest=manifest)
    return plain and {
        name: selection.tally
        for contest in plain.contests.values()
        for name, selection in contest.selections.items()
    }


def do_plain(request):
    """Counts of our published tally, or None where a share in it does not verify."""
    _, context = _election(request)
    keys = {key["owner_id"]: read(ElectionPublicKey, key).key for key in request["keys"]}
    plain = read(PlaintextTally, request["plain"])
    counts = {}
    for contest in plain.contests.values():
        for name, selection in contest.selections.items():
            for share in selection.shares:
                if not share.is_valid(
                    selection.message, keys[share.guardian_id], context.crypto_extended_base_hash
                ):
                    return None
            product = mult_p(*[share.share for share in selection.shares])
            if div_p(selection.message.data, product) != g_pow_p(ElementModQ(selection.tally)):
                return None
            counts[name] = selection.tally
    return counts


def do_record(request):
    """A record read with the reference's own loader, and what it makes of every part."""
    folder = Path(request["record"])

    def load(kind, name):
        return from_file(kind, folder / f"{name}.json")

    def load_all(kind, name):
        return [from_file(kind, path) for path in sorted((folder / name).glob("*.json"))]

    manifest, context = load(Manifest, "manifest"), load(CiphertextElectionContext, "context")
    internal = InternalManifest(manifest)
    guardians = load_all(GuardianRecord, "guardians")
    keys = [
        ElectionPublicKey(
            each.guardian_id,
            each.sequence_order,
            each.election_public_key,
            each.election_commitments,
            each.election_proofs,
        )
        for each in guardians
    ]
    ballots = load_all(SubmittedBallot, "submitted_ballots")
    encrypted = load(PublishedCiphertextTally, "encrypted_tally")
    product = add_up(manifest, context, ballots).publish()
    plain = load(PlaintextTally, "tally")
    spoiled = load_all(PlaintextTally, "spoiled_ballots")
    known = {key.owner_id: key for key in keys}
    messages = {
        (ballot.object_id, selection.object_id): selection.ciphertext
        for ballot in ballots
        for contest in ballot.contests
        for selection in contest.ballot_selections
    }
    coefficients = load(LagrangeCoefficientsRecord, "coefficients").coefficients
    return {
        "constants": load(ElectionConstants, "constants") == get_constants(),
        "manifest": manifest.is_valid(),
        "key": combine_election_public_keys(keys).joint_public_key == context.elgamal_public_key,
        "proofs": all(proof.is_valid() for key in keys for proof in key.coefficient_proofs),
        "coefficients": coefficients
        == compute_lagrange_coefficients_for_guardians([known[name] for name in coefficients]),
        "ballots": all(
            ballot_is_valid_for_election(ballot, internal, context, True) for ballot in ballots
        ),
        "product": raw(product.contests) == raw(encrypted.contests),
        "shares": all(
            share.is_valid(
                selection.message, known[share.guardian_id].key, context.crypto_extended_base_hash
            )
            for tally in (plain, *spoiled)
            for contest in tally.contests.values()
            for selection in contest.selections.values()
            for share in selection.shares
        ),
        "messages": all(
            messages[tally.object_id, selection.object_id] == selection.message
            for tally in spoiled
            for contest in tally.contests.values()
            for selection in contest.selections.values()
        ),
        "counts": _counts(plain),
        "spoiled": {tally.object_id: _counts(tally) for tally in spoiled},
    }


def _counts(plain):
    return {
        name: selection.tally
        for contest in plain.contests.values()
        for name, selection in contest.selections.items()
    }


def do_backup(request):
    """Whether the reference's guardian can open our backup and finds it on the polynomial."""
    pair = _key_pair(request["secret"], read(ElectionPublicKey, request["receiver"]))
    backup = read(ElectionPartialKeyBackup, request["backup"])
    owner = read(ElectionPublicKey, request["owner"])
    return verify_election_partial_key_backup(pair.owner_id, backup, owner, pair).verified


def _key_pair(secret, key):
    coefficients = [
        Coefficient(hex_to_q(value), commitment, None)
        for value, commitment in zip(
            secret["coefficients"], key.coefficient_commitments, strict=True
        )
    ]
    return ElectionKeyPair(
        secret["owner_id"],
        secret["sequence_order"],
        ElGamalKeyPair(coefficients[0].value, coefficients[0].commitment),
        ElectionPolynomial(coefficients),
    )


def do_bench(request):
    """Milliseconds of CPU for what Scrutin's benchmark measures."""
    manifest, context = _election(request)
    internal = InternalManifest(manifest)
    published = read(PublishedCiphertextTally, request["tally"])
    tally = CiphertextTally(published.object_id, internal, context)
    tally.contests = published.contests
    pair = _key_pair(request["secret"], read(ElectionPublicKey, request["key"]))
    ballot = read(SubmittedBallot, request["ballot"])
    mediator = EncryptionMediator(internal, context, EncryptionDevice(1, 2, 3, "here"))
    contest = manifest.contests[0]
    chosen = PlaintextBallotSelection(contest.ballot_selections[3].object_id, 1)
    plain = PlaintextBallot("b", "ballot", [PlaintextBallotContest(contest.object_id, [chosen])])

    def cpu_ms(action):
        taken = []
        for _ in range(request["times"]):
            begin = time.process_time()
            action()
            taken.append(1000 * (time.process_time() - begin))
        return sorted(taken)[len(taken) // 2]

    return {
        "encrypt a ballot with proofs": cpu_ms(lambda: mediator.encrypt(plain)),
        "verify a ballot fully": cpu_ms(
            lambda: ballot_is_valid_for_election(ballot, internal, context, True)
        ),
        "add a ballot up, from JSON": cpu_ms(
            lambda: add_up(manifest, context, [read(SubmittedBallot, request["ballot"])])
        ),
        "a guardian's share of a tally": cpu_ms(
            lambda: compute_decryption_share(pair, tally, context)
        ),
    }


COMMANDS = {
    name.removeprefix("do_"): function
    for name, function in list(globals().items())
    if name.startswith("do_")
}


def main():
    for line in sys.stdin:
        request = json.loads(line)
        answer = COMMANDS[request["do"]](request)
        ANSWERS.write(json.dumps(answer) + "\n")
        ANSWERS.flush()


if __name__ == "__main__":
    main()
