#!/bin/bash
# What stv-rs 0.5.1 does with a skipped rank and with a candidate who withdrew.
# Needs Rust with cargo and a package index; compiling takes minutes. Exit 1: it behaves otherwise
# than is written here.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
cargo install -q stv-rs --version 0.5.1 --locked --debug --root "${STV_RS_ROOT:-$folder}"
STV_RS="${STV_RS_ROOT:-$folder}/bin/stv-rs"
tail='0
"Ann"
"Bob"
"Cyd"
"Ward"'
printf '%s\n' '3 1' '[nick a b c]' '4 a 0' '3 b 0' '2 - b 0' "$tail" > "$folder/skipped.blt"
printf '%s\n' '3 1' '[nick a b c]' '[withdrawn c]' '3 a 0' '2 b 0' '2 c b 0' '1 c 0' "$tail" > "$folder/withdrawn.blt"
count() { "$STV_RS" --arithmetic bigfixed9 --input "$folder/$1.blt" meek --parallel=no 2>/dev/null; }
seen=$(for what in skipped withdrawn; do
  count "$what" > "$folder/$what.txt"
  echo "$what: $(grep -m1 'Ballots:' "$folder/$what.txt" | xargs); $(grep -m1 'Elected:' "$folder/$what.txt" | xargs)"
done)
echo "$seen"
[ "$seen" = "skipped: Ballots: 7; Elected: Ann (4.000000000)
withdrawn: Ballots: 7; Elected: Bob (4.000000000)" ]
# Seen: of 9 ballots (Ann 4, Bob 3, first rank skipped and then Bob 2) 7 are left and Ann is elected: a line
# with - is no ballot there, which only the log says. Of 8 ballots (Ann 3, Bob 2, Cyd>Bob 2, Cyd 1; Cyd withdrew)
# 7 are left: the next preference counts, and the ballot for Cyd alone is not among the ballots.
