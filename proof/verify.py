#!/usr/bin/env python3
"""Check a published count. Needs Python 3.8 or later and nothing else.

    python3 verify.py BUNDLE --key KEY       a folder or .zip; KEY as published before the vote
    python3 verify.py BUNDLE --receipt FILE  is this vote in it? Without BUNDLE: in the signed log?
    python3 verify.py BUNDLE --other FILE    checkpoints seen elsewhere: was the same log shown?

--witness KEY (may be repeated) demands a witness's signature; --json is for programs.
Exit code 0: all that could be checked holds; 1: something differs and is named; 2: unreadable.
SPECIFICATION.md has all formats and rules. This file shares no code with the counter.
"""

import argparse
import base64
import collections
import hashlib
import json
import os
import sys
import urllib.parse
import zipfile
from fractions import Fraction

Counter = collections.Counter


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


def times(number, point):
    found = (0, 1, 1, 0)
    while number:
        found = add_points(found, point) if number & 1 else found
        point, number = add_points(point, point), number >> 1
    return found


BASE = point_of((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def holds(key, signature, message):
    """Whether a signature is that of a message."""
    s = int.from_bytes(signature[32:], "little")
    digest = hashlib.sha512(signature[:32] + key + message).digest()
    other = times(-int.from_bytes(digest, "little") % ORDER, point_of(key))
    x, y, z, _ = add_points(times(s % ORDER, BASE), other)
    x, y = x * pow(z, P - 2, P) % P, y * pow(z, P - 2, P) % P
    same = (y | (x & 1) << 255).to_bytes(32, "little") == signature[:32]
    return same and len(signature) == 64 and s < ORDER


# Signed notes (C2SP signed-note and tlog-cosignature), and checkpoints (section 5).

Key = collections.namedtuple("Key", "name id algorithm raw")
Tree = collections.namedtuple("Tree", "log size root offset")


def key_of(text):
    name, key_id, encoded = text.strip().split("+", 2)
    raw = base64.b64decode(encoded, validate=True)
    key = Key(name, sha256(name.encode() + b"\n" + raw)[:4], raw[0], raw[1:])
    sound = key.id.hex() == key_id and key.algorithm in (1, 4) and len(key.raw) == 32
    need(sound, "bad_key", f"{text[:80]!r} is not a key")
    return key


def name_of(word):
    return "" if word == "%" else urllib.parse.unquote(word, errors="strict")


class Checkpoint:
    """A signed note that says what the log holds."""

    def __init__(self, text):
        body, gap, tail = text.rpartition("\n\n")
        self.body, self.signatures = body + "\n", []
        for line in tail.split("\n")[:-1]:
            dash, name, encoded = line.split(" ")
            raw = base64.b64decode(encoded, validate=True)
            self.signatures.append((name, raw[:4], raw[4:]))
            need(dash == "—", "malformed", "a line of signatures is malformed")
        lines = body.split("\n")
        need(gap and tail.endswith("\n") and lines[3] == "scrutin/1", "malformed", "no checkpoint")
        self.origin, self.size = lines[0], int(lines[1])
        self.root = base64.b64decode(lines[2], validate=True)
        self.statement = "".join(f"{line}\n" for line in lines[3:])
        self.trees, self.totals, self.closed, self.hidden, self.keys = {}, {}, {}, set(), []
        words = [line.split(" ") for line in lines[4:]]
        (first, self.time), (second, epoch), *rest = words
        order = ["time", "epoch", "tree", "total", "hidden", "closed", "key"]
        places = [order.index(each[0]) for each in words]
        need(places == sorted(places), "malformed", "the lines of a checkpoint are out of order")
        need((first, second) == ("time", "epoch"), "malformed", "a checkpoint has no time")
        self.epoch = int(epoch)
        for word, *rest in rest:
            one = name_of(rest[0])
            if word == "tree":
                log, size, root, offset = rest[1:]
                self.trees[int(one)] = Tree(log, int(size), base64.b64decode(root), int(offset))
            elif word == "total":
                need((one, name_of(rest[1])) not in self.totals, "malformed", "a total is twice")
                self.totals[one, name_of(rest[1])] = int(rest[2])
            elif word == "closed":
                pairs = [place.split(":") for place in rest[1].split(",") if place != "-"]
                self.closed[one] = {int(p): int(offset) for p, offset in pairs}
            else:
                self.keys.append(key_of(rest[0])) if word == "key" else self.hidden.add(one)

    def signed_by(self, key):
        """Whether a key has signed. A signature in its name that does not hold is a fault."""
        for name, key_id, rest in self.signatures:
            if (name, key_id) == (key.name, key.id):
                message = self.body
                if key.algorithm == 4:
                    time = int.from_bytes(rest[:8], "big")
                    message, rest = f"cosignature/v1\ntime {time}\n{message}", rest[8:]
                what = f"the signature of {name} under checkpoint {self.size} does not hold"
                need(holds(key.raw, rest, message.encode()), "bad_signature", what)
                return True
        return False

    def check_signer(self, keys):
        known = any(key.name == self.origin and self.signed_by(key) for key in keys)
        what = f"checkpoint {self.size} of {self.origin} is signed by no key of the log"
        need(known, "unknown_signer", what)

    def final(self, contest):
        """Whether every partition has passed the point where a contest closed."""
        at = self.closed.get(contest)
        return bool(at) and all(p in at and t.offset >= at[p] for p, t in self.trees.items())


# Trees (RFC 9162, section 2.1) and leaves (section 2).


class Growing:
    """A tree that grows by leaves: the roots of its perfect subtrees, the largest first."""

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
    sound = 0 <= index < size and (size > 1) == bool(path)
    need(sound, "not_included", "the proof of the receipt is not one of its place")
    if size == 1:
        return sha256(b"\0" + leaf)
    half = 1 << (size - 1).bit_length() - 1
    if index < half:
        return sha256(b"\1" + root_by_path(leaf, index, half, path[:-1]) + path[-1])
    return sha256(b"\1" + path[-1] + root_by_path(leaf, index - half, size - half, path[:-1]))


def leaf_of(row):
    status = {"accepted": 1, "invalid": 2, "duplicate": 3, "malformed": 4}[row["status"]]
    commitment = bytes.fromhex(row["commitment"])
    need(len(commitment) == 32, "malformed", "a commitment has 32 bytes")
    texts = [row["contest"].encode(), row["reason"].encode()]
    named = b"".join(len(text).to_bytes(2, "big") + text for text in texts)
    return bytes([1, status]) + row["epoch"].to_bytes(4, "big") + named + commitment


def check_opening(row, where):
    """Whether salt and opening are those that a leaf commits to; the choice and its weight."""
    opening = bytes.fromhex(row["opening"])
    found = sha256(bytes.fromhex(row["salt"]) + opening).hex()
    what = f"{where}: salt and opening are not those that the leaf commits to"
    need(found == row["commitment"], "opening_differs", what)
    choice, _, weight = opening.partition(b"\0weight=")
    return choice, int(weight or 1)


# Counting (section 9).


def boxes_of(contest, said, totals):
    """The ballots of each seat: of the first candidate on the ballot that is known."""
    seats = contest["seats"]
    home = {name: n for n, seat in enumerate(seats) for name in seat["candidates"]}
    boxes = [Counter() for _ in seats]
    unnamed = Counter()
    for choice, votes in totals.items():
        ranks = choice.rstrip(">").split(">") if choice.rstrip(">") else []
        known = [name for rank in ranks for name in rank.split("=") if name in home]
        if known and (contest["method"] == "ranked" or len(ranks) == 1):
            boxes[home[known[0]]][tuple(ranks)] += votes
        elif not known and (not ranks or "=" in ranks):
            unnamed[choice] += votes
    # Ballots that name nobody belong to the region that the voter stated: as the office says.
    given = Counter()
    for box, seat in zip(boxes, said):
        for choice, votes in seat["unnamed"].items():
            ranks = choice.rstrip(">")
            box[tuple(ranks.split(">") if ranks else ())] += votes
            given[choice] += votes
    more = [choice for choice in given if given[choice] > unnamed[choice]]
    whole = seats[0]["region"] is None
    more += [choice for choice in unnamed if whole and given[choice] < unnamed[choice]]
    need(not more, "results_differ", f"other numbers of ballots that name nobody: {more}")
    return boxes


def most(votes, barred=()):
    """Who has the most votes, in ballot order."""
    best = max((n for name, n in votes.items() if name not in barred), default=0)
    return [name for name, n in votes.items() if n == best > 0 and name not in barred]


class Seat:
    """The count of one seat. Names of rules are those of contests.json."""

    def __init__(self, contest, seat, box):
        self.rules, self.held = contest["rules"] or {}, contest["conduct"]
        self.names, self.box, self.cast = seat["candidates"], box, sum(box.values())
        gone = {each["choice"] for each in self.held.get("withdrawn", [])}
        what = self.held.get("withdrawn_votes", "next_preference")
        self.skipped = gone if what == "next_preference" else set()
        self.barred = gone if what == "cannot_be_elected" else set()
        self.vacant = gone if what == "seat_vacant_if_elected" else set()
        self.by_hand = self.held.get("lots_by_hand")
        seed, promised = self.rules.get("lot_seed") or contest["contest"], "seed_commitment"
        if self.held.get(promised):
            seed = self.held.get("seed") or ""
            same = not seed or sha256(seed.encode()).hex() == self.held[promised]
            need(same, "seed_differs", "the seed of the lots is not the one committed to")
        self.lot = f"{seed}|{seat['region'] or ''}|" if seed else None
        self.rounds, self.elected, self.outcome = [], None, "nobody"

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
        votes, inactive = dict.fromkeys(self.names, 0), Counter()
        for ranks, n in self.box.items():
            if len(ranks) == 1 and ranks[0] in votes:
                votes[ranks[0]] += n
            elif not any(ranks):
                inactive["blank"] += n
        for name in self.skipped & set(votes):
            inactive["withdrawn"] += votes.pop(name)
        best = most(votes, self.barred | {self.held.get("undeclared_write_in")})
        if best:
            self.elect(best)
        if best or sum(inactive.values()):
            self.add_round(votes, inactive)

    def runoff(self):
        rules, whole = self.rules, 0
        self.piles = {name: [] for name in self.names if name not in self.skipped}
        self.inactive = Counter(blank=sum(n for r, n in self.box.items() if not any(r)))
        self.hand_out([(ranks, -1, n) for ranks, n in self.box.items() if any(ranks)])
        while self.outcome == "nobody":
            votes = {name: sum(n for _, _, n in pile) for name, pile in self.piles.items()}
            active = sum(votes.values())
            if not active:
                return
            if not self.rounds or rules["majority_of"] == "continuing":
                whole = self.cast if rules["majority_of"] == "cast" else active
            best = most(votes, self.barred | {rules["undeclared_write_in"]})
            last = len(self.rounds) + 1 == rules["max_rounds"] or len(set(votes) - self.barred) == 1
            enough = best and 2 * votes[best[0]] > whole
            if best and last:
                self.elect(best)
            elif enough and (len(votes) <= 2 or not rules["until_two_remain"]):
                self.elect(best[:1])
            losers = self.losers(votes) if self.outcome == "nobody" else []
            self.add_round(votes, self.inactive, losers)
            if not losers and self.outcome == "nobody":
                self.outcome = "lot_needed" if self.by_hand else "seed_needed"
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
        known = len(set(ranks) & set(self.names))
        full = known == len(set(ranks)) == len(ranks) >= len(self.names) - 1
        if place < 0 and rules["full_ranking"] and not full:
            return "informal", 0
        for at in range(place + 1, min(len(ranks), rules["max_ranks"] or len(ranks))):
            marks = {name for name in ranks[at].split("=") if name}
            if not ranks[at]:
                skipped += 1
                continue
            if rules["max_skipped_ranks"] is not None and skipped > rules["max_skipped_ranks"]:
                return "skipped_ranks", at
            skipped = 0
            if rules["exhaust_on_duplicate"] and marks & set("=".join(ranks[:at]).split("=")):
                return "repeated", at
            if ranks[at] in self.piles:
                return ranks[at], at
            if "=" in ranks[at]:
                there = marks & set(self.piles)
                if rules["overvote"] == "exhaust_immediately":
                    return "overvote", at
                if rules["overvote"] == "exhaust_if_multiple_continuing" and (there or not marks):
                    return there.pop() if len(there) == 1 else "overvote", at
                over = True
        return "overvote" if over else "exhausted_choices", len(ranks)

    def losers(self, votes):
        """Who is eliminated; nobody if the count waits for a lot."""
        rules = self.rules
        if rules["undeclared_write_in"] in votes and len(votes) > 1:
            return [rules["undeclared_write_in"]]
        below = [name for name in votes if votes[name] < rules["min_votes"]]
        if not self.rounds and 0 < len(below) < len(votes):
            return below
        ordered, hopeless = sorted(votes, key=lambda name: votes[name]), 0
        for number in range(1, len(votes) - (1 if rules["until_two_remain"] else 0)):
            if sum(votes[name] for name in ordered[:number]) < votes[ordered[number]]:
                hopeless = number
        if hopeless > 1 and rules["batch_elimination"]:
            return ordered[:hopeless]
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

    def count(self, ranked, final, all_cast):
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
        elif final and quorum and all_cast < Fraction(quorum) * eligible:
            self.outcome = "quorum_not_reached"
        elif not final and self.outcome == "elected":
            self.outcome = "leading"
        ahead = name if self.outcome in ("elected", "leading") else None
        return {
            "ballots": self.cast,
            "outcome": self.outcome,
            "ahead": ahead,
            "rounds": self.rounds,
        }


# The bundle (section 8).


class Files:
    """The files of a folder or of a .zip, perhaps with one folder around them."""

    def __init__(self, path):
        self.zip = None if os.path.isdir(path) else zipfile.ZipFile(path)
        walk = [os.path.join(at, name) for at, _, names in os.walk(path) for name in names]
        found = self.zip.namelist() if self.zip else [name.replace(os.sep, "/") for name in walk]
        tops = [name[:-13] for name in found if name.split("/")[-1] == "manifest.json"]
        self.top = min(tops, key=len, default="")
        inside = [name for name in found if name.startswith(self.top) and name[-1] != "/"]
        self.names = {name[len(self.top) :] for name in inside}

    def open(self, name):
        need(name in self.names, "file_missing", f"{name} is missing")
        return self.zip.open(self.top + name) if self.zip else open(self.top + name, "rb")

    def rows(self, name):
        with self.open(name) as file:
            for line in file:
                yield json.loads(line.decode())

    def document(self, name):
        with self.open(name) as file:
            return json.loads(file.read().decode())

    def digest(self, name):
        digest = hashlib.sha256()
        with self.open(name) as file:
            for piece in iter(lambda: file.read(1 << 20), b""):
                digest.update(piece)
        return digest.hexdigest()


class Bundle:
    """A published count, and what is found in it."""

    def __init__(self, options):
        self.faults, self.checked, self.unchecked, self.options = [], [], [], options
        self.last, self.seen, self.signers, self.trees = None, {}, {}, {}
        self.counts, self.opened, self.wanted = Counter(), Counter(), {}
        self.keys = [key_of(options.key)] if options.key else []
        self.receipts = [(path, json.loads(read(path))) for path in options.receipt]
        for _, receipt in self.receipts:
            self.wanted[receipt["tree"], receipt["index"]] = None

    def fault_if(self, differs, kind, text):
        if differs:
            self.faults.append({"kind": kind, "what": text})
        return differs

    def during(self, work, *arguments):
        """Run a check; a fault is noted, and the next check goes on."""
        try:
            return work(*arguments)
        except Fault as fault:
            return self.fault_if(True, *fault.args)
        except (ValueError, LookupError, TypeError, AttributeError, OSError) as error:
            what = f"{work.__name__}{arguments[:1]}: {type(error).__name__}: {error}"
            return self.fault_if(True, "malformed", what[:300])

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
        self.during(self.check_log)
        if self.last:
            self.check_witnesses([key_of(text) for text in keys["witnesses"]])
            for number, contest in enumerate(self.contests):
                self.during(self.check_contest, contest, f"openings/{number}.jsonl")
            for path in self.options.other:
                self.during(self.check_other, path)

    def check_files(self):
        listed, names = self.manifest["files"], self.files.names - {"manifest.json"}
        for name in sorted(names | set(listed)):
            added = self.fault_if(name not in listed, "file_added", f"{name} is not listed")
            if not added and not self.fault_if(name not in names, "file_missing", name):
                changed = self.files.digest(name) != listed[name]["sha256"]
                self.fault_if(changed, "file_changed", f"{name} is not the file that is listed")
        own = self.files.digest("manifest.json")
        self.checked.append(f"{len(listed)} files against manifest.json, whose SHA-256 is {own}")
        if any(name.startswith("tally/") for name in names):
            self.unchecked.append("encrypted elections in tally/: use `scrutin tally verify`")

    def check_log(self):
        """Checkpoints in order, and beside them the leaves that each of them signs."""
        statements, started = Growing(), {}
        for row in self.files.rows("checkpoints.jsonl"):
            point = Checkpoint(row["note"])
            self.check_next(point, self.last, statements)
            for p, head in point.trees.items():
                rows, tree = started.setdefault(
                    p, (self.files.rows(f"leaves/{p}.jsonl"), Growing())
                )
                start = tree.size
                while tree.size < head.size and (leaf := next(rows, None)):
                    self.take(p, tree, leaf)
                if (tree.size, tree.root()) != (head.size, head.root):
                    what = f"; checkpoint {point.size} signed others after leaf {start}"
                    self.trees.setdefault(p, what)
            if not self.trees:
                self.check_totals(point)
            self.signers[point.size], self.keys, self.last = self.keys, point.keys, point
            self.seen[point.size] = point.root
        need(self.last, "checkpoint_missing", "there is no checkpoint")
        for p, (rows, tree) in started.items():
            size, found = self.last.trees[p].size, tree.size + sum(1 for _ in rows)
            kind = "removed" if found < size else "added" if found > size else "changed"
            what = f"leaves/{p}.jsonl has {found} leaves, {size} are signed"
            differs = found != size or p in self.trees
            self.fault_if(differs, f"leaf_{kind}", what + self.trees.get(p, ""))
        said = f"{self.last.size} signed checkpoints of {self.last.origin}, up to {self.last.time}"
        self.checked.append(f"{said}; {sum(t.size for _, t in started.values())} leaves in trees")

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
        leaf, choice, weight = leaf_of(row), None, 1
        if (p, tree.size) in self.wanted:
            self.wanted[p, tree.size] = leaf
        if "opening" in row:
            choice, weight = check_opening(row, f"leaf {tree.size} of leaves/{p}.jsonl")
        tree.add(leaf)
        if row["status"] == "accepted":
            self.counts[row["epoch"], row["contest"]] += 1
            self.opened[row["epoch"], row["contest"], choice] += weight

    def loose(self, contest):
        """Why the number of its leaves need not be that of its votes."""
        held = self.contests.get(contest, {}).get("conduct", {})
        reasons = [name for name in ("revote", "weighted") if held.get(name)]
        return ["votes from before there were trees"] if self.incomplete else reasons

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
            need(self.loose(contest) or leaves == sums[contest], "totals_differ", what)

    def check_witnesses(self, known):
        demanded = list(map(key_of, self.options.witness))
        found = [
            key for key in {*known, *demanded} if self.during(self.last.signed_by, key) is True
        ]
        for key in set(demanded) - set(found):
            self.fault_if(True, "witness_missing", f"{key.name} has not signed the last checkpoint")
        self.checked.extend(f"the last checkpoint is signed by {key.name}" for key in found)
        if not found:
            self.unchecked.append("that everybody was shown this log: no witness; use --other")

    def check_contest(self, contest, name):
        """What the office says of a contest, against the signed totals; an election is recounted."""
        one, said = self.contests[contest], self.results.get(contest, {})
        if contest in self.last.hidden:
            return self.unchecked.append(f"{contest}: nothing is shown of it yet")
        totals = {name: n for (of, name), n in self.last.totals.items() if of == contest}
        rows = [(row["choice"], row["votes"]) for row in self.files.rows(name)]
        need(dict(rows) == totals and rows == sorted(rows), "results_differ", f"{name}: {contest}")
        need(said["totals"] == totals, "results_differ", f"results.json: totals of {contest}")
        final = bool(one["enforced"]) and self.last.final(contest)
        need(said["final"] == final, "results_differ", f"results.json: whether {contest} is final")
        if one["method"] not in ("single", "ranked"):
            self.unchecked.append(f"{contest}: the method {one['method']} is unknown here")
        for seat, box, told in zip(
            one["seats"], boxes_of(one, said["seats"], totals), said["seats"]
        ):
            counted = Seat(one, seat, box).count(
                one["method"] == "ranked", final, sum(totals.values())
            )
            for field, value in counted.items():
                what = f"{contest}, region {seat['region']}: {field} is {told[field]}, not {value}"
                need(told[field] == value, "recount_differs", what[:500])
        seats = f", {len(one['seats'])} seats counted again in all rounds" if one["seats"] else ""
        self.checked.append(f"{contest}: {sum(totals.values())} votes by the signed totals{seats}")
        self.unchecked.extend(f"{contest}: votes by leaves ({why})" for why in self.loose(contest))
        if one["openings"] == "withheld":
            self.unchecked.append(f"{contest}: that its leaves commit to these choices (withheld)")

    def check_other(self, path):
        """Checkpoints that somebody else has kept: a note, or lines of {"note": ...}."""
        text = read(path)
        lines = [json.loads(line)["note"] for line in text.splitlines() if text[0] == "{"]
        for point in map(Checkpoint, lines or [text]):
            self.compare(point, path)
        self.checked.append(f"{path}: the same log")

    def compare(self, point, where):
        at = f"{where}: checkpoint {point.size} of {point.origin}"
        need(point.origin == self.last.origin, "other_log", f"{at} is of another log")
        point.check_signer(self.signers.get(point.size, self.keys))
        need(point.size in self.seen, "bundle_old", f"{at} is newer than the bundle")
        same = self.seen[point.size] == point.root
        need(same, "split_view", f"{at} is not the one in the bundle: two logs were shown")

    def check_receipt(self, path, receipt):
        """Section 6, and against the bundle if there is one."""
        point, row, where = (
            Checkpoint(receipt["checkpoint"]),
            receipt["leaf"],
            (receipt["tree"], receipt["index"]),
        )
        if self.last:
            self.compare(point, path)
        else:
            point.check_signer(self.keys)
        tree = point.trees[receipt["tree"]]
        steps = [bytes.fromhex(each) for each in receipt["path"]]
        root = root_by_path(leaf_of(row), receipt["index"], tree.size, steps)
        need(root == tree.root, "not_included", f"{path}: its leaf is not in the signed tree")
        if "opening" in receipt:
            check_opening(dict(row, **receipt["opening"]), path)
        same = not self.last or self.wanted[where] == leaf_of(row)
        need(same, "receipt_differs", f"{path}: the bundle has another leaf at this place")
        self.checked.append(f"{path}: {row['status']} in {row['contest']}, in the signed log")


def read(path):
    with open(path, encoding="utf-8", newline="") as file:
        return file.read()


def main():
    parser = argparse.ArgumentParser(description="Check a published count.", epilog=__doc__)
    parser.add_argument("bundle", nargs="?")
    parser.add_argument("--key")
    parser.add_argument("--json", action="store_true")
    for name in ("--witness", "--receipt", "--other"):
        parser.add_argument(name, action="append", default=[])
    options = parser.parse_args()
    try:
        bundle = Bundle(options)
        need(options.bundle or (options.key and options.receipt), "usage", "see --help")
        if options.bundle:
            bundle.check()
    except (Fault, OSError, ValueError, LookupError, TypeError, zipfile.BadZipFile) as error:
        print(f"This cannot be read: {error}", file=sys.stderr)
        return 2
    for path, receipt in bundle.receipts:
        bundle.during(bundle.check_receipt, path, receipt)
    found = {"ok": not bundle.faults, "faults": bundle.faults}
    found.update(checked=bundle.checked, not_checked=bundle.unchecked)
    if options.json:
        print(json.dumps(found, indent=1, ensure_ascii=False))
        return 1 if bundle.faults else 0
    for heading, lines in (("Checked", bundle.checked), ("Not checked", bundle.unchecked)):
        print(heading + ":", *lines, sep="\n  ")
    print("Faults:", *(f"{f['kind']}: {f['what']}" for f in bundle.faults), sep="\n  ")
    print("DIFFERENT" if bundle.faults else "All that could be checked holds.")
    return 1 if bundle.faults else 0


if __name__ == "__main__":
    sys.exit(main())
