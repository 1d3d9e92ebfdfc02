#!/bin/bash
# What caritat 0.0.4 does with the number of ballots that its README passes to addBallot.
# Needs Node.js and npm. Exit 1: it behaves otherwise than is written here.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
npm init -y >/dev/null; npm install --silent --no-audit --no-fund caritat@0.0.4 >/dev/null
timeout 20 node - <<'JS'
const { Election, plurality } = require('caritat');
const election = new Election({ candidates: ['A', 'B'] });
election.addBallot(['A'], 3);
election.addBallot(['B'], 1);
election.addBallot(['B'], 1);
const winner = String(plurality(election));
console.log('A 3, B 1, B 1:', election.ballots.length, 'ballots, elected', winner);
if (election.ballots.length !== 3 || winner !== 'B') process.exit(1);
JS
# Seen: 3 ballots, B elected; the number of a group is ignored, so each group counts once.
