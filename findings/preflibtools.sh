#!/bin/bash
# What preflibtools 2.0.33 does with an order that occurs in two lines of a file.
# Needs Python with venv and a package index. Exit 1: it behaves otherwise than is written here.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
python3 -m venv "$folder/env"; "$folder/env/bin/pip" install -q preflibtools==2.0.33
{
  for field in "FILE NAME: t.toi" "TITLE: t" "DESCRIPTION: t" "DATA TYPE: toi" "MODIFICATION TYPE: original" \
    "RELATES TO: " "RELATED FILES: " "PUBLICATION DATE: 2026-01-01" "MODIFICATION DATE: 2026-01-01" \
    "NUMBER ALTERNATIVES: 2" "NUMBER VOTERS: 10" "NUMBER UNIQUE ORDERS: 2" "ALTERNATIVE NAME 1: A" "ALTERNATIVE NAME 2: B"
  do echo "# $field"; done
  echo "5: 1,2"; echo "5: 1,2"
} > "$folder/t.toi"
"$folder/env/bin/python" - "$folder/t.toi" <<'PY'
import sys
from preflibtools.instances import OrdinalInstance

read = OrdinalInstance(sys.argv[1])
print("5: 1,2 in two lines:", sum(read.multiplicity.values()), "of 10 votes")
assert sum(read.multiplicity.values()) == 5
PY
# Seen: 5 of 10 votes; the second number replaces the first.
