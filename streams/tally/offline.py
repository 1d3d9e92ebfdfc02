"""Computes a guardian's shares offline, for itself and for missing guardians."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from streams.tally.crypto.ceremony import Backup, GuardianKey, GuardianSecret, open_backup
from streams.tally.crypto.shares import make_compensated_share, make_share
from streams.tally.files import Shares, ToDecrypt
from streams.tally.refusals import RefusalCheck, require
from streams.tally.work import load_election


def make_shares(
    given: ToDecrypt,
    secret: GuardianSecret,
    *,
    missing: Sequence[str] = (),
    backups: Sequence[Backup] = (),
    advance: Callable[[int], None] = lambda _: None,
) -> Shares:
    """Compute a guardian's shares of all products.

    Args:
        missing: guardians to replace, using their `backups` for this guardian.
        advance: called with the number of products just done.

    Raises:
        Refused: a backup is missing or invalid, or a product does not belong to the election.
    """
    election, keys = load_election(given.described())
    by_name: dict[str, GuardianKey] = {key.owner_id: key for key in keys}
    for name in (secret.owner_id, *missing):
        require(name in by_name, RefusalCheck.GUARDIANS, "no such guardian", guardian=name)
    coordinates = {}
    for name in missing:
        found = [
            backup
            for backup in backups
            if (backup.owner_id, backup.designated_id) == (name, secret.owner_id)
        ]
        require(bool(found), RefusalCheck.BACKUP, "a backup is missing", owner=name)
        coordinates[name] = open_backup(found[0], secret, by_name[name])
    key, extended_hash = by_name[secret.owner_id], election.extended_hash
    own, compensated = {}, {}
    for product in given.products:
        own[product.unit] = [make_share(t, secret, key, extended_hash) for t in product.tallies]
        compensated[product.unit] = [
            [
                make_compensated_share(t, coordinate, key, by_name[name], extended_hash)
                for t in product.tallies
            ]
            for name, coordinate in coordinates.items()
        ]
        advance(1)
    return Shares(given.election_id, secret.owner_id, own, compensated)
