#!/bin/bash
# What stv-rs 0.5.1 does with a skipped rank and with a candidate who withdrew.
# Needs Rust with cargo and a package index; compiling takes minutes. Exit 1: it behaves otherwise
# than is written here.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
[ -n "${STV_RS:-}" ] || { cargo install -q stv-rs --version 0.5.1 --locked --root "$folder"; STV_RS="$folder/bin/stv-rs"; }
tail='0
"Ann"
"Bob"
"Cyd"
"Ward"'
printf '%s\n' '3 1' '[nick a b c]' '4 a 0' '3 b 0' '2 - b 0' "$tail" > "$folder/skipped.blt"
printf '%s\n' '3 1' '[nick a b c]' '[withdrawn c]' '3 a 0' '2 b 0' '2 c b 0' '1 c 0' "$tail" > "$folder/withdrawn.blt"
count() { "$STV_RS" --arithmetic bigfixed9 --input "$folder/$1.blt" meek --parallel=no 2>/dev/null; }
for what in skipped withdrawn; do
  count "$what" > "$folder/$what.txt"
  echo "$what: $(grep -m1 -i 'ballots' "$folder/$what.txt" | tr -s ' \t' ' '); $(grep -m1 'Elected:' "$folder/$what.txt" | tr -s ' \t' ' ')"
done
