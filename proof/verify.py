#!/usr/bin/env python3
"""Check a published count with Python 3.8 or later and nothing else.

    python3 verify.py BUNDLE --key KEY       a folder or .zip; KEY as published before the vote
    python3 verify.py BUNDLE --receipt FILE  is this vote in it? Without BUNDLE: in the signed log?
    python3 verify.py BUNDLE --other FILE    checkpoints seen elsewhere: was the same log shown?

--witness KEY: it must have signed. --json: for programs. Exit code 0: holds, 1: differs, 2: unread.
"""

import argparse
import hashlib
import json
import sys
import zipfile
from base64 import b64decode
from collections import Counter, namedtuple
from fractions import Fraction
from pathlib import Path
from urllib.parse import unquote


class Fault(Exception):
    """What differs from what it must be: a kind for programs, and words."""


def need(holds, kind, text):
    if not holds:
        raise Fault(kind, text)


def sha256(data):
    return hashlib.sha256(data).digest()


# Ed25519 (RFC 8032, section 5.1). Only verification: nothing here is secret.
P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P


def add_points(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def point_of(raw):
    y = int.from_bytes(raw, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    need(y < P and not (x * x - square) % P and (x or not sign), "bad_key", "a key is no point")
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P


BASE = point_of((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def holds(key, signature, message):
    """Whether a signature is that of a message."""
    s, found = int.from_bytes(signature[32:], "little"), (0, 1, 1, 0)
    digest = hashlib.sha512(signature[:32] + key + message).digest()
    terms = (s, BASE), (-int.from_bytes(digest, "little") % ORDER, point_of(key))
    for bit in range(255, -1, -1):
        found = add_points(found, found)
        for number, point in terms:
            found = add_points(found, point) if number >> bit & 1 else found
    x, y = (part * pow(found[2], P - 2, P) % P for part in found[:2])
    same = (y | (x & 1) << 255).to_bytes(32, "little") == signature[:32]
    return same and len(signature) == 64 and s < ORDER


# Signed notes (C2SP signed-note and tlog-cosignature), and checkpoints (section 5).
Key = namedtuple("Key", "name id algorithm raw")
Tree = namedtuple("Tree", "log size root offset")


def key_of(text):
    name, key_id, encoded = text.strip().split("+", 2)
    raw = b64decode(encoded, validate=True)
    key = Key(name, sha256(name.encode() + b"\n" + raw)[:4], raw[0], raw[1:])
    need(key.id.hex() == key_id and raw[0] in (1, 4) and len(raw) == 33, "bad_key", text[:80])
    return key


class Checkpoint:
    """A signed note that says what the log holds."""

    def __init__(self, text):
        body, gap, tail = text.rpartition("\n\n")
        lines, signed = body.split("\n"), [line.split(" ") for line in tail.split("\n")]
        sound = gap and signed.pop() == [""] and all(dash == "—" for dash, _, _ in signed)
        need(sound and lines[3] == "scrutin/1", "malformed", "a text is no signed checkpoint")
        self.signatures = [(name, b64decode(raw, validate=True)) for _, name, raw in signed]
        self.body, self.statement = body + "\n", "".join(f"{line}\n" for line in lines[3:])
        self.origin, self.size, self.root = lines[0], int(lines[1]), b64decode(lines[2])
        found = {word: [] for word in ("time", "epoch", "tree", "total", "hidden", "closed", "key")}
        for line in lines[4:]:
            word, *rest = line.split(" ")
            coded = word in ("total", "hidden", "closed")
            found[word].append([unquote(each.rstrip("%")) for each in rest] if coded else rest)
        ((self.time,),), ((epoch,),) = found["time"], found["epoch"]
        self.epoch, self.hidden = int(epoch), {name for (name,) in found["hidden"]}
        rows = found["tree"]
        trees = ((p, Tree(log, int(n), b64decode(root), int(at))) for p, log, n, root, at in rows)
        self.trees = {int(p): tree for p, tree in trees}
        self.totals = {(contest, choice): int(n) for contest, choice, n in found["total"]}
        need(len(self.totals) == len(found["total"]), "malformed", "two totals of one choice")
        self.closed = {name: at.split(",") for name, at in found["closed"]}
        self.keys = [key_of(key) for (key,) in found["key"]]

    def signed_by(self, key):
        """Whether a key has signed. A signature in its name that does not hold is a fault."""
        found = [raw[4:] for name, raw in self.signatures if (name, raw[:4]) == (key.name, key.id)]
        for raw in found[:1]:
            time = int.from_bytes(raw[:8], "big")
            head, skip = (f"cosignature/v1\ntime {time}\n", 8) if key.algorithm == 4 else ("", 0)
            what = f"the signature of {key.name} under checkpoint {self.size} does not hold"
            message = (head + self.body).encode()
            need(holds(key.raw, raw[skip:], message), "bad_signature", what)
        return bool(found)

    def check_signer(self, keys):
        known = any(key.name == self.origin and self.signed_by(key) for key in keys)
        need(known, "unknown_signer", f"no key of the log signed checkpoint {self.size}")

    def final(self, contest):
        """Whether every partition has passed the point where a contest closed."""
        at = dict(place.split(":") for place in self.closed.get(contest, ()) if place != "-")
        return all(t.offset >= int(at.get(str(p), t.offset + 1)) for p, t in self.trees.items())


class Growing:
    """A tree (RFC 9162, section 2.1): the roots of its perfect subtrees, the largest first."""

    def __init__(self):
        self.size, self.peaks = 0, []

    def add(self, leaf):
        node, size = sha256(b"\0" + leaf), self.size
        while size & 1:
            node = sha256(b"\1" + self.peaks.pop() + node)
            size >>= 1
        self.peaks.append(node)
        self.size += 1

    def root(self):
        root = self.peaks[-1] if self.peaks else sha256(b"")
        for left in reversed(self.peaks[:-1]):
            root = sha256(b"\1" + left + root)
        return root


def root_by_path(leaf, index, size, path):
    """The root that an inclusion proof leads to (section 2.1.3)."""
    if not (0 <= index < size and (size > 1) == bool(path)):
        raise Fault("not_included", "the proof of the receipt is not one of its place")
    if size == 1:
        return sha256(b"\0" + leaf)
    half = 1 << (size - 1).bit_length() - 1
    if index < half:
        return sha256(b"\1" + root_by_path(leaf, index, half, path[:-1]) + path[-1])
    return sha256(b"\1" + path[-1] + root_by_path(leaf, index - half, size - half, path[:-1]))


def leaf_of(row):
    """The bytes of a leaf (section 2)."""
    status = {"accepted": 1, "invalid": 2, "duplicate": 3, "malformed": 4}[row["status"]]
    texts = [row["contest"].encode(), row["reason"].encode()]
    named = b"".join(len(text).to_bytes(2, "big") + text for text in texts)
    head = bytes([1, status]) + row["epoch"].to_bytes(4, "big")
    return head + named + bytes.fromhex(row["commitment"])


def check_opening(row, where):
    """Whether salt and opening are those that a leaf commits to; the choice and its weight."""
    opening = bytes.fromhex(row["opening"])
    found = sha256(bytes.fromhex(row["salt"]) + opening).hex()
    what = f"{where}: salt and opening are not those that the leaf commits to"
    need(found == row["commitment"], "opening_differs", what)
    choice, _, weight = opening.partition(b"\0weight=")
    return choice, int(weight or 1)


def ranks_of(choice):
    return tuple(choice.rstrip(">").split(">")) if choice.rstrip(">") else ()


def boxes_of(contest, said, totals):
    """Ballots by seat: of the first known candidate; those that name nobody as the office says."""
    seats, unnamed = contest["seats"], Counter()
    home = {name: n for n, seat in enumerate(seats) for name in seat["candidates"]}
    boxes = [Counter() for _ in seats]
    for choice, votes in totals.items():
        ranks = ranks_of(choice)
        known = [name for rank in ranks for name in rank.split("=") if name in home]
        if known and (contest["method"] == "ranked" or len(ranks) == 1):
            boxes[home[known[0]]][ranks] += votes
        elif not known and (not ranks or "=" in ranks):
            unnamed[choice] += votes
    for box, seat in zip(boxes, said):
        unnamed.subtract(seat["unnamed"])
        for choice, votes in seat["unnamed"].items():
            box[ranks_of(choice)] += votes
    wrong = [c for c, n in unnamed.items() if n < 0 or (n and seats and not seats[0]["region"])]
    need(not wrong, "results_differ", f"other numbers of ballots that name nobody: {wrong}")
    return boxes


class Seat:
    """The count of one seat (section 9)."""

    def __init__(self, contest, seat, box):
        self.rules, self.held = contest["rules"] or {}, contest["conduct"]
        self.names, self.box, self.cast = seat["candidates"], box, sum(box.values())
        self.rounds, self.elected, self.outcome = [], None, "nobody"
        gone = {each["choice"] for each in self.held.get("withdrawn", [])}
        what = self.held.get("withdrawn_votes", "next_preference")
        rules = ("next_preference", "cannot_be_elected", "seat_vacant_if_elected")
        self.skipped, self.barred, self.vacant = (gone if what == each else set() for each in rules)
        self.by_hand, promised = self.held.get("lots_by_hand"), self.held.get("seed_commitment")
        seed = self.rules.get("lot_seed") or contest["contest"]
        seed = self.held.get("seed") or "" if promised else seed
        same = not promised or not seed or sha256(seed.encode()).hex() == promised
        need(same, "seed_differs", "the seed of the lots is not the one committed to")
        self.lot = f"{seed}|{seat['region'] or ''}|" if seed else None

    def most(self, votes, write_in):
        """Who can be elected and has the most votes, in ballot order."""
        able = {name: n for name, n in votes.items() if n and name not in {*self.barred, write_in}}
        return [name for name in able if able[name] == max(able.values())]

    def drawn(self, tied, elects):
        lots = [lot for lot in self.held.get("lots", []) if lot.get("elects", False) == elects]
        return [lot["drawn"] for lot in lots if set(lot["tied"]) == set(tied) and self.by_hand][:1]

    def elect(self, best):
        """One of those with the most votes, if a rule says which."""
        name = best if len(best) == 1 else self.drawn(best, True)
        self.outcome = "elected" if name else "lot_needed" if self.by_hand else "tied"
        self.elected = name[0] if name else None

    def add_round(self, votes, inactive, gone=()):
        inactive = {reason: n for reason, n in inactive.items() if n}
        self.rounds.append({"votes": votes, "inactive": inactive, "eliminated": list(gone)})

    def plurality(self):
        votes = {name: self.box[name,] for name in self.names}
        inactive = {"blank": sum(n for ranks, n in self.box.items() if not any(ranks))}
        inactive["withdrawn"] = sum(votes.pop(name) for name in self.skipped & set(votes))
        best = self.most(votes, self.held.get("undeclared_write_in"))
        if best:
            self.elect(best)
        if best or any(inactive.values()):
            self.add_round(votes, inactive)

    def runoff(self):
        rules, whole = self.rules, 0
        self.piles = {name: [] for name in self.names if name not in self.skipped}
        self.inactive = Counter(blank=sum(n for r, n in self.box.items() if not any(r)))
        self.hand_out([(ranks, -1, n) for ranks, n in self.box.items() if any(ranks)])
        while self.outcome == "nobody" and any(self.piles.values()):
            votes = {name: sum(n for _, _, n in pile) for name, pile in self.piles.items()}
            if not self.rounds or rules["majority_of"] == "continuing":
                whole = self.cast if rules["majority_of"] == "cast" else sum(votes.values())
            best = self.most(votes, rules["undeclared_write_in"])
            last = len(self.rounds) + 1 == rules["max_rounds"] or len(set(votes) - self.barred) == 1
            ends, losers = last or len(votes) <= 2 or not rules["until_two_remain"], []
            if best and ends and (last or 2 * votes[best[0]] > whole):
                self.elect(best)
            elif not (losers := self.losers(votes)):
                self.outcome = "lot_needed" if self.by_hand else "seed_needed"
            self.add_round(votes, self.inactive, losers)
            self.hand_out([ballot for name in losers for ballot in self.piles.pop(name)])

    def hand_out(self, ballots):
        for ranks, place, n in ballots:
            name, at = self.next_of(ranks, place)
            if name in self.piles:
                self.piles[name].append((ranks, at, n))
            elif place >= 0 or "=" in ranks or set("=".join(ranks).split("=")) & set(self.names):
                self.inactive[name] += n

    def next_of(self, ranks, place):
        """For whom a ballot counts after a place, and where; or why for nobody."""
        rules, skipped, over = self.rules, 0, False
        bound = rules["max_skipped_ranks"]
        full = len(set(ranks) & set(self.names)) == len(ranks) >= len(self.names) - 1
        if place < 0 and rules["full_ranking"] and not full:
            return "informal", 0
        for at in range(place + 1, min(len(ranks), rules["max_ranks"] or len(ranks))):
            marks = {name for name in ranks[at].split("=") if name}
            skipped += not ranks[at]
            if ranks[at] and skipped > (len(ranks) if bound is None else bound):
                return "skipped_ranks", at
            skipped = 0 if ranks[at] else skipped
            if rules["exhaust_on_duplicate"] and marks & set("=".join(ranks[:at]).split("=")):
                return "repeated", at
            if ranks[at] in self.piles:
                return ranks[at], at
            if "=" in ranks[at]:
                there, how, over = marks & set(self.piles), rules["overvote"], True
                several = how == "exhaust_if_multiple_continuing" and (there or not marks)
                if several or how == "exhaust_immediately":
                    return there.pop() if several and len(there) == 1 else "overvote", at
        return "overvote" if over else "exhausted_choices", len(ranks)

    def losers(self, votes):
        """Who is eliminated; nobody if the count waits for a lot."""
        rules = self.rules
        if rules["undeclared_write_in"] in votes and len(votes) > 1:
            return [rules["undeclared_write_in"]]
        below = [name for name in votes if votes[name] < rules["min_votes"]]
        if not self.rounds and 0 < len(below) < len(votes):
            return below
        ordered, keep = sorted(votes, key=votes.get), 2 if rules["until_two_remain"] else 1
        for k in range(len(votes) - keep, 1, -1) if rules["batch_elimination"] else ():
            if sum(votes[name] for name in ordered[:k]) < votes[ordered[k]]:
                return ordered[:k]
        tied = [name for name in votes if votes[name] == min(votes.values())]
        how = rules["tie_break"]
        earlier = {"first_rounds_then_lot": 1, "previous_rounds_then_lot": -1}.get(how)
        for one in self.rounds[::earlier] if earlier else []:
            fewest = min(one["votes"][name] for name in tied)
            tied = [name for name in tied if one["votes"][name] == fewest]
        if len(tied) == 1 or how == "list_order":
            return tied[-1:]
        if self.by_hand:
            return self.drawn(tied, False)
        return sorted(tied, key=lambda n: sha256(f"{self.lot}{n}".encode()))[: bool(self.lot)]

    def count(self, ranked, final, totals):
        """What results.json must say."""
        self.runoff() if ranked else self.plurality()
        share, quorum = self.held.get("winner_quorum"), self.held.get("turnout_quorum")
        eligible, name = self.held.get("eligible"), self.elected
        if name in self.vacant:
            self.outcome = "seat_vacant"
        elif name and share and self.rounds[-1]["votes"][name] < Fraction(share) * self.cast:
            self.outcome = "quorum_not_reached"
        if final and quorum and not eligible:
            self.outcome = "eligible_voters_needed"
        elif final and quorum and sum(totals.values()) < Fraction(quorum) * eligible:
            self.outcome = "quorum_not_reached"
        elif not final and self.outcome == "elected":
            self.outcome = "leading"
        ahead = name if self.outcome in ("elected", "leading") else None
        return dict(ballots=self.cast, outcome=self.outcome, ahead=ahead, rounds=self.rounds)


class Files:
    """The files of a folder or of a .zip, perhaps with one folder around them."""

    def __init__(self, path):
        self.zip = None if Path(path).is_dir() else zipfile.ZipFile(path)
        files = (each.as_posix() for each in Path(path).rglob("*") if each.is_file())
        found = [name for name in (self.zip.namelist() if self.zip else files) if name[-1] != "/"]
        tops = [name[:-13] for name in found if name.endswith("manifest.json")]
        self.top = min(tops, key=len, default="")
        self.names = {name[len(self.top) :] for name in found if name.startswith(self.top)}

    def lines(self, name):
        need(name in self.names, "file_missing", f"{name} is missing")
        with self.zip.open(self.top + name) if self.zip else open(self.top + name, "rb") as file:
            yield from file

    def document(self, name):
        return json.loads(b"".join(self.lines(name)))

    def digest(self, name):
        digest = hashlib.sha256()
        for line in self.lines(name):
            digest.update(line)
        return digest.hexdigest()


class Bundle:
    """A published count (section 8), and what is found in it."""

    def __init__(self, options):
        self.faults, self.checked, self.unchecked, self.options = [], [], [], options
        self.last, self.seen, self.trees = None, {}, {}
        self.counts, self.opened = Counter(), Counter()
        self.keys = [key_of(options.key)] if options.key else []

    def during(self, work, *arguments):
        """Run a check; what differs is noted, and the next check goes on."""
        try:
            return work(*arguments)
        except Exception as error:
            other = ("malformed", f"{work.__name__}: {type(error).__name__}: {error}")
            kind, what = error.args if isinstance(error, Fault) else other
            self.faults.append({"kind": kind, "what": what[:500]})

    def check(self):
        self.files = Files(self.options.bundle)
        self.manifest, keys = self.files.document("manifest.json"), self.files.document("keys.json")
        need(self.manifest["format"] == "scrutin-bundle/1", "malformed", "no bundle of form 1")
        self.contests = {one["contest"]: one for one in self.files.document("contests.json")}
        self.results = self.files.document("results.json")
        self.incomplete = any(self.manifest["begins"].values())
        if not self.keys:
            self.keys = [key_of(keys["log"][0])]
            self.unchecked.append("that keys.json has the key that was published before the vote")
        self.during(self.check_files)
        sound = self.during(self.check_log)
        if self.last:
            self.check_witnesses([key_of(text) for text in keys["witnesses"]])
            for path in self.options.other:
                self.during(self.check_other, path)
        for number, contest in enumerate(self.contests if sound else ()):
            self.during(self.check_contest, contest, f"openings/{number}.jsonl")

    def check_files(self):
        listed, names = self.manifest["files"], self.files.names - {"manifest.json"}
        for name in sorted(names | set(listed)):
            kind = "added" if name not in listed else "" if name in names else "missing"
            if not kind and self.files.digest(name) != listed[name]["sha256"]:
                kind = "changed"
            self.during(need, not kind, f"file_{kind}", f"{name} is not as manifest.json lists it")
        own = self.files.digest("manifest.json")
        self.checked.append(f"{len(listed)} files against manifest.json, whose SHA-256 is {own}")
        if any(name.startswith("tally/") for name in names):
            self.unchecked.append("encrypted elections in tally/: use `scrutin tally verify`")

    def check_log(self):
        """Checkpoints in order, and beside them the leaves that each of them signs."""
        statements, started = Growing(), {}
        for row in map(json.loads, self.files.lines("checkpoints.jsonl")):
            point = Checkpoint(row["note"])
            self.check_next(point, self.last, statements)
            for p, head in point.trees.items():
                new = self.files.lines(f"leaves/{p}.jsonl"), Growing()
                rows, tree = started.setdefault(p, new)
                start = tree.size
                while tree.size < head.size and (leaf := next(rows, None)):
                    self.take(p, tree, json.loads(leaf))
                if (tree.size, tree.root()) != (head.size, head.root):
                    what = f"; checkpoint {point.size} signed others after leaf {start}"
                    self.trees.setdefault(p, what)
            if not self.trees:
                self.check_totals(point)
            seen = point.root, self.keys
            self.seen[point.size], self.keys, self.last = seen, point.keys, point
        need(self.last, "checkpoint_missing", "there is no checkpoint")
        for p, (rows, tree) in started.items():
            size, found = self.last.trees[p].size, tree.size + sum(1 for _ in rows)
            kind = "removed" if found < size else "added" if found > size else "changed"
            what = f"leaves/{p}.jsonl has {found} leaves, {size} are signed{self.trees.get(p, '')}"
            self.during(need, found == size and p not in self.trees, f"leaf_{kind}", what)
        said = f"{self.last.size} signed checkpoints of {self.last.origin}, up to {self.last.time}"
        self.checked.append(f"{said}; {sum(t.size for _, t in started.values())} leaves in trees")
        return True

    def check_next(self, new, old, statements):
        at = f"checkpoint {new.size}"
        new.check_signer(self.keys)
        need(new.origin == self.manifest["origin"], "other_log", f"{at} is of {new.origin}")
        need(new.size == statements.size + 1, "checkpoint_order", f"{at} stands in another place")
        statements.add(new.statement.encode())
        need(statements.root() == new.root, "checkpoint_swapped", f"{at} continues another log")
        for p, tree in old.trees.items() if old else ():
            then = new.trees.get(p, Tree("", 0, b"", 0))
            need(then.log == tree.log, "other_log", f"{at}: partition {p} is of another log")
            on = old.time <= new.time and old.epoch <= new.epoch and tree.size <= then.size
            need(on and tree.offset <= then.offset, "rollback", f"{at} goes back")

    def take(self, p, tree, row):
        """Add a leaf to its tree, and count it."""
        where = f"leaf {tree.size} of leaves/{p}.jsonl"
        choice, weight = check_opening(row, where) if "opening" in row else (None, 1)
        tree.add(leaf_of(row))
        if row["status"] == "accepted":
            self.counts[row["epoch"], row["contest"]] += 1
            self.opened[row["epoch"], row["contest"], choice] += weight

    def loose(self, contest):
        """Why the number of its leaves need not be that of its votes."""
        held = self.contests[contest]["conduct"]
        return [w for w in ("revote", "weighted") if held.get(w)] + [
            "before trees"
        ] * self.incomplete

    def check_totals(self, point):
        """The totals of a checkpoint against the leaves that it signs."""
        sums = Counter()
        for (contest, choice), votes in point.totals.items():
            sums[contest] += votes
            need(contest in self.contests, "contest_missing", f"{contest} is not in contests.json")
            leaves = self.opened[point.epoch, contest, choice.encode()]
            opened = self.contests[contest]["openings"] == "public"
            opened = opened and self.loose(contest) in ([], ["weighted"])
            what = f"{contest}, {choice}: checkpoint {point.size} says {votes}, leaves {leaves}"
            need(not opened or leaves == votes, "totals_differ", what)
        accepted = {contest for epoch, contest in self.counts if epoch == point.epoch}
        for contest in (accepted | set(sums)) - point.hidden:
            leaves = self.counts[point.epoch, contest]
            what = f"{contest}: checkpoint {point.size} says {sums[contest]} votes, leaves {leaves}"
            need(leaves == sums[contest] or self.loose(contest), "totals_differ", what)

    def check_witnesses(self, known):
        demanded = set(map(key_of, self.options.witness))
        found = {k for k in demanded | set(known) if self.during(self.last.signed_by, k) is True}
        for key in demanded - found:
            self.during(need, False, "witness_missing", f"{key.name} has not signed the last one")
        self.checked.extend(f"the last checkpoint is signed by {key.name}" for key in found)
        if not found:
            self.unchecked.append("that everybody was shown this log: no witness; use --other")

    def check_contest(self, contest, name):
        """What the office says of a contest, against the signed totals; elections are recounted."""
        one, said = self.contests[contest], self.results.get(contest, {})
        if contest in self.last.hidden:
            self.unchecked.append(f"{contest}: nothing is shown of it yet")
            return
        totals = {name: n for (of, name), n in self.last.totals.items() if of == contest}
        rows = [(row["choice"], row["votes"]) for row in map(json.loads, self.files.lines(name))]
        need(dict(rows) == totals and rows == sorted(rows), "results_differ", f"{name}: {contest}")
        need(said["totals"] == totals, "results_differ", f"results.json: totals of {contest}")
        final = bool(one["enforced"]) and self.last.final(contest)
        need(said["final"] == final, "results_differ", f"results.json: whether {contest} is final")
        seats = one["seats"] if one["method"] in ("single", "ranked") else []
        need(len(said["seats"]) >= len(seats), "results_differ", f"results.json: {contest}, seats")
        for seat, box, told in zip(seats, boxes_of(one, said["seats"], totals), said["seats"]):
            counted = Seat(one, seat, box).count(one["method"] == "ranked", final, totals)
            for field, value in counted.items():
                what = f"{contest} in {seat['region']}: {field} is {told[field]}, counted {value}"
                need(told[field] == value, "recount_differs", what)
        if len(seats) < len(one["seats"]):
            self.unchecked.append(f"{contest}: the method {one['method']} is unknown here")
        what = f"{len(seats)} seats counted again" if seats else "signed totals"
        self.checked.append(f"{contest}: {sum(totals.values())} votes; {what}")
        self.unchecked.extend(f"{contest}: votes by leaves ({why})" for why in self.loose(contest))
        if one["openings"] == "withheld":
            self.unchecked.append(f"{contest}: that its leaves commit to these choices (withheld)")

    def check_other(self, path):
        """Checkpoints that somebody else has kept: a note, or lines of {"note": ...}."""
        text = Path(path).read_text("utf-8")
        lines = [json.loads(line)["note"] for line in text.splitlines() if text[0] == "{"]
        for point in map(Checkpoint, lines or [text]):
            self.compare(point, path)
        self.checked.append(f"{path}: the same log")

    def compare(self, point, where):
        at = f"{where}: checkpoint {point.size} of {point.origin}"
        need(point.origin == self.last.origin, "other_log", f"{at} is of another log")
        root, keys = self.seen.get(point.size, (None, self.keys))
        point.check_signer(keys)
        need(root, "bundle_old", f"{at} is newer than the bundle")
        need(root == point.root, "split_view", f"{at} is another than here: two logs were shown")

    def check_receipt(self, path):
        """Section 6, and against the bundle if there is one."""
        receipt = json.loads(Path(path).read_text("utf-8"))
        point, row, number = Checkpoint(receipt["checkpoint"]), receipt["leaf"], receipt["tree"]
        self.compare(point, path) if self.last else point.check_signer(self.keys)
        tree, steps = point.trees[number], [bytes.fromhex(each) for each in receipt["path"]]
        root = root_by_path(leaf_of(row), receipt["index"], tree.size, steps)
        need(root == tree.root, "not_included", f"{path}: its leaf is not in the signed tree")
        if receipt.get("opening"):
            check_opening(dict(row, **receipt["opening"]), path)
        self.checked.append(f"{path}: {row['status']} in {row['contest']}, in the signed log")


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("bundle", nargs="?")
    parser.add_argument("--key")
    parser.add_argument("--json", action="store_true")
    for name in ("--witness", "--receipt", "--other"):
        parser.add_argument(name, action="append", default=[])
    options = parser.parse_args()
    try:
        need(options.bundle or (options.key and options.receipt), "usage", "see --help")
        bundle = Bundle(options)
        if options.bundle:
            bundle.check()
    except Exception as error:
        print(f"This cannot be read: {error}", file=sys.stderr)
        return 2
    for path in options.receipt:
        bundle.during(bundle.check_receipt, path)
    found = {"checked": bundle.checked, "not_checked": bundle.unchecked, "faults": bundle.faults}
    if options.json:
        print(json.dumps({"ok": not bundle.faults, **found}, indent=1, ensure_ascii=False))
    else:
        faults = [f"{fault['kind']}: {fault['what']}" for fault in bundle.faults]
        for name, lines in {**found, "faults": faults or ["none"]}.items():
            print(name.replace("_", " ").capitalize(), *lines, sep="\n  ")
    return 1 if bundle.faults else 0


if __name__ == "__main__":
    sys.exit(main())
