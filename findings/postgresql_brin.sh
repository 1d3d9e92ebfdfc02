#!/bin/bash
# What PostgreSQL's VACUUM does with the last page range of a BRIN index, and what the planner expects of an
# index on an expression before ANALYZE (PostgreSQL as compiled in @electric-sql/pglite 0.5.16).
# Needs Node.js and npm. Exit 1: it behaves otherwise than is written here.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT; cd "$folder"
npm init -y >/dev/null; npm install --silent --no-audit --no-fund @electric-sql/pglite@0.5.16 >/dev/null
timeout 120 node --input-type=module - <<'JS'
import { PGlite } from '@electric-sql/pglite';
const db = new PGlite();
const rows = async (query) => (await db.query(query)).rows.map((row) => Object.values(row)[0]);
const plan = async () => (await rows(`EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off)
  SELECT * FROM votes WHERE at AT TIME ZONE 'UTC' = timestamp '2020-01-01'`)).join('\n');
const read = async () => Number(/Heap Blocks: lossy=(\d+)/.exec(await plan())?.[1] ?? 0);

console.log((await rows('SHOW server_version'))[0]);
await db.exec(`CREATE TABLE votes (at timestamptz, filler text) WITH (autovacuum_enabled = off);
  CREATE INDEX votes_at ON votes USING brin ((at AT TIME ZONE 'UTC')) WITH (pages_per_range = 64);
  INSERT INTO votes SELECT timestamptz '2026-01-01' + n * interval '1 ms', repeat('x', 200)
  FROM generate_series(1, 25000) AS n`);
const [pages] = await rows("SELECT pg_relation_size('votes')::int / 8192");
await db.exec('VACUUM votes');
const scanned = /Seq Scan/.test(await plan());
console.log('VACUUM alone, time of no row:', scanned ? 'Seq Scan' : 'index');
await db.exec('ANALYZE votes');
const left = await read();
console.log(`VACUUM and ANALYZE, time of no row: ${left} of ${pages} pages read`);
const [added] = await rows("SELECT brin_summarize_new_values('votes_at')");
const after = await read();
console.log(`brin_summarize_new_values: ${added} range; then ${after} pages read`);
if (!scanned || left !== pages % 64 || left === 0 || added !== 1 || after !== 0) process.exit(1);
JS
# Seen with 18.6: a Seq Scan before ANALYZE; then 54 of 758 pages read for a time that no row has, because the last
# range is not whole; none after brin_summarize_new_values.
