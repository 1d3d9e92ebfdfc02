"""`scrutin guardian`: commands of an encrypted election's guardian, mostly run offline."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from streams.cli.show import JsonOption, console, counting, plain, run, write_json
from streams.cli.values import MAX_NUMBER, file_name
from streams.errors import SettingsError
from streams.settings.load import load_settings
from streams.tally.ballot_file import lines_of
from streams.tally.crypto.ceremony import (
    Backup,
    GuardianKey,
    GuardianSecret,
    make_backup,
    make_guardian,
)
from streams.tally.files import (
    ToDecrypt,
    ballots_beside,
    check_backups,
    read_document,
    write_document,
)
from streams.tally.helpers import Helpers
from streams.tally.offline import CheckedProducts, check_products, make_shares, remember_opened
from streams.tally.sealing import Locked, lock, make_key_file, public_key, seal, unlock
from streams.tally.store import TallyStore

app = typer.Typer(no_args_is_help=True, help="Guardians of encrypted elections.")

SecretFile = Annotated[Path, typer.Argument(help="The guardian's locked file, NAME.secret.json.")]
KeyFiles = Annotated[list[Path], typer.Argument(help="All guardians' NAME.public.json.")]
PassphraseFile = Annotated[
    Path | None, typer.Option(help="File with the passphrase; prompted for without it.")
]


@app.callback()
def _group() -> None:
    """Guardians of encrypted elections.

    Guardians create keys together: `new`, exchange of public files, `backup`, exchange of backups,
    `check`. Workers compute shares with a sealed secret (`seal`), or guardians offline (`decrypt`).
    """


@app.command()
def new(
    name: Annotated[str, typer.Argument(callback=file_name, help="The guardian's name.")],
    *,
    election: Annotated[str, typer.Option(help="Election of the key.")],
    order: Annotated[
        int, typer.Option(min=1, max=MAX_NUMBER, help="The guardian's number, from 1.")
    ],
    quorum: Annotated[
        int, typer.Option(min=1, max=MAX_NUMBER, help="Number of guardians required to decrypt.")
    ],
    directory: Annotated[Path, typer.Option(help="Folder for the two files.")] = Path(),
    passphrase_file: PassphraseFile = None,
) -> None:
    """Create a guardian's key: NAME.secret.json stays private, NAME.public.json is for everybody.

    Example: `scrutin guardian new ann --election mayor-2026 --order 1 --quorum 2`
    """
    secret, key = make_guardian(name, order, quorum)
    passphrase = _passphrase(passphrase_file, confirm=True)
    secret_file = directory / f"{name}.secret.json"
    write_document(lock(secret, election, passphrase), secret_file, secret=True)
    write_document(key, directory / f"{name}.public.json")
    _say(f"{secret_file} is locked; give {name}.public.json to all others")


@app.command()
def backup(
    secret: SecretFile,
    keys: KeyFiles,
    *,
    directory: Annotated[Path, typer.Option(help="Folder for the backups.")] = Path(),
    passphrase_file: PassphraseFile = None,
) -> None:
    """Write an encrypted backup for each other guardian: OWNER-for-OTHER.backup.json.

    Example: `scrutin guardian backup ann.secret.json *.public.json`
    """
    public = [read_document(GuardianKey, path) for path in keys]
    opened = _open(secret, public, passphrase_file)
    for key in public:
        if key.owner_id != opened.owner_id:
            path = directory / f"{opened.owner_id}-for-{key.owner_id}.backup.json"
            write_document(make_backup(opened, key), path)
            _say(str(path))


@app.command()
def check(
    secret: SecretFile,
    keys: KeyFiles,
    *,
    backups: Annotated[Path, typer.Option(help="Folder with the backups of all guardians.")],
    passphrase_file: PassphraseFile = None,
) -> None:
    """Check that this guardian has a valid backup from every other guardian.

    Example: `scrutin guardian check ann.secret.json *.public.json --backups .`
    """
    public = [read_document(GuardianKey, path) for path in keys]
    opened = _open(secret, public, passphrase_file)
    check_backups(opened, public, _backups(backups))
    _say(f"All {len(public) - 1} backups for {opened.owner_id} are valid")


@app.command("workers-key")
def workers_key(
    file: Annotated[Path, typer.Argument(help="The workers' private key; created if missing.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Show the public key with which guardians seal their secrets.

    Example: `scrutin guardian workers-key /etc/scrutin/tally.key`
    """
    shown = public_key(file) if file.exists() else make_key_file(file)
    if as_json:
        write_json({"publicKey": shown})
    else:
        _say(shown)


@app.command("seal")
def seal_secret(
    secret: SecretFile,
    key: Annotated[Path, typer.Argument(help="The guardian's NAME.public.json.")],
    *,
    workers_key: Annotated[str, typer.Option(help="Public key, from `guardian workers-key`.")],
    passphrase_file: PassphraseFile = None,
) -> None:
    """Let workers decrypt for this guardian: store its secret in the database, sealed for them.

    Only the workers' private key can open it. To keep the secret offline, use `decrypt`.

    Example: `scrutin guardian seal ann.secret.json ann.public.json --workers-key 5f3a…`
    """
    locked = read_document(Locked, secret)
    opened = _open(secret, [read_document(GuardianKey, key)], passphrase_file)
    sealed = seal(opened, locked.election_id, workers_key)

    async def put() -> None:
        async with TallyStore(load_settings().postgres) as store:
            await store.election(locked.election_id)
            await store.put_secret(locked.election_id, opened.owner_id, sealed)

    run(put())
    _say(f"The secret of {opened.owner_id} is sealed for {locked.election_id}")


@app.command()
def decrypt(
    secret: SecretFile,
    to_decrypt: Annotated[Path, typer.Argument(help="From `scrutin tally products`.")],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="File for the shares.")],
    head: Annotated[
        str, typer.Option(help="Published head of the ballots, from the election's page.")
    ],
    ballots: Annotated[
        Path | None,
        typer.Option(help="Published ballots; default: PRODUCTS with `.ballots.jsonl`."),
    ] = None,
    missing: Annotated[
        list[str] | None, typer.Option(help="A guardian to stand in for; may be repeated.")
    ] = None,
    backups: Annotated[Path | None, typer.Option(help="Folder with the backups.")] = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Compute shares offline, of products that are checked first; `scrutin tally upload` submits
    them.

    Every proof of the published ballots is verified, and their products are recomputed. Refused
    are other products, single ballots that are not published as spoiled, sums of fewer ballots than
    SCRUTIN_TALLY_MIN_BALLOTS, and products that differ from those decrypted before, which
    NAME.opened.json beside the secret records.

    Examples:

        scrutin guardian decrypt ann.secret.json products.json -o ann.shares.json --head 5f3a…

        scrutin guardian decrypt ann.secret.json products.json -o ann.shares.json --head 5f3a…
        --missing cem --backups .
    """
    given = read_document(ToDecrypt, to_decrypt)
    keys = given.keys()
    opened = _open(secret, keys, passphrase_file)
    published = ballots or ballots_beside(to_decrypt)
    total = sum(1 for _ in lines_of(published))

    async def check_first() -> CheckedProducts:
        settings = load_settings()
        async with Helpers(settings.helpers()) as helpers:
            with counting("verifying ballots", total) as advance:
                return await check_products(
                    given,
                    published,
                    helpers,
                    head=head,
                    minimum=settings.tally_min_ballots,
                    advance=advance,
                )

    checked = run(check_first())
    remember_opened(checked, secret.with_name(f"{opened.owner_id}.opened.json"))
    with counting("decrypting", len(given.products)) as advance:
        shares = make_shares(
            checked,
            opened,
            missing=missing or [],
            backups=_backups(backups) if backups else [],
            advance=advance,
        )
    write_document(shares, output)
    _say(f"{output}: shares of {len(shares.own)} products by {opened.owner_id}")


def _open(path: Path, keys: list[GuardianKey], passphrase_file: Path | None) -> GuardianSecret:
    locked = read_document(Locked, path)
    for key in keys:
        if key.owner_id == locked.guardian_id:
            return unlock(locked, _passphrase(passphrase_file), key)
    raise SettingsError(
        f"The public file of {locked.guardian_id} was not given",
        where={"file": path},
        todo="Add it to the command",
    )


def _backups(directory: Path) -> list[Backup]:
    return [read_document(Backup, path) for path in sorted(directory.glob("*.backup.json"))]


def _passphrase(file: Path | None, *, confirm: bool = False) -> str:
    if file is not None:
        try:
            given = file.read_text().rstrip("\n")
        except OSError as error:
            raise SettingsError(
                f"The passphrase cannot be read: {error.strerror}", where={"file": file}
            ) from error
    elif sys.stdin.isatty():
        given = str(typer.prompt("Passphrase", hide_input=True, confirmation_prompt=confirm))
    else:
        raise SettingsError(
            "A passphrase is required", todo="Name a file that holds it: --passphrase-file FILE"
        )
    if not given:
        raise SettingsError("The passphrase is empty", todo="Choose one that is hard to guess")
    return given


def _say(text: str) -> None:
    console().print(plain(text))
