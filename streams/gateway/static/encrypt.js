// Encrypts a ballot as ElectionGuard 1.1 does, in a worker, so that the page stays usable.

import { FixedBase, G, P, Q, fromHex, hash, hex, mod, random, times } from "./group.js";

// The key and base hashes follow from the guardians' keys, and the key is in the group.
async function checked(definition) {
  const { context, guardians } = definition;
  const ordered = [...guardians].sort((a, b) => a.sequence_order - b.sequence_order);
  const commitments = ordered.flatMap((guardian) => guardian.coefficient_commitments.map(fromHex));
  const key = ordered.map((guardian) => fromHex(guardian.key)).reduce(times, 1n);
  const base = await hash(P, Q, G, context.number_of_guardians, context.quorum, fromHex(context.manifest_hash));
  const extended = await hash(base, await hash(await hash(...commitments)));
  const power = new FixedBase(key);
  if (key !== fromHex(context.elgamal_public_key) || key === 1n || power.power(Q) !== 1n
    || extended !== fromHex(context.crypto_extended_base_hash)) {
    throw new Error("The election's key does not follow from its guardians' keys");
  }
  return { g: new FixedBase(G), k: power, extended, manifest: fromHex(context.manifest_hash) };
}

async function line(of, description, vote, openings) {
  const [r, u, v, w] = [random(), random(), random(), random()];
  const pad = of.g.power(r);
  const data = vote ? times(of.k.power(r), G) : of.k.power(r);
  openings[description.id] = { vote, nonce: hex(r) };
  // The branch that is true is proved, the other simulated with challenge w.
  const real = [of.g.power(u), of.k.power(u)];
  const simulated = [of.g.power(v), times(of.k.power(v), of.g.power(w))];
  const [zero, one] = vote ? [simulated, real] : [real, simulated];
  const c = await hash(of.extended, pad, data, ...zero, ...one);
  const [c0, c1] = vote ? [mod(-w), mod(c + w)] : [mod(c - w), w];
  const [u0, u1] = vote ? [v, u] : [u, v];
  const described = fromHex(description.hash);
  const crypto_hash = await hash(description.id, described, await hash(pad, data));
  const proof = {
    proof_zero_pad: hex(zero[0]), proof_zero_data: hex(zero[1]), proof_one_pad: hex(one[0]), proof_one_data: hex(one[1]),
    proof_zero_challenge: hex(c0), proof_one_challenge: hex(c1), challenge: hex(c),
    proof_zero_response: hex(mod(u0 + c0 * r)), proof_one_response: hex(mod(u1 + c1 * r)),
  };
  return { r, pad, data, crypto_hash, document: {
    object_id: description.id, sequence_order: description.order, description_hash: description.hash,
    ciphertext: { pad: hex(pad), data: hex(data) }, crypto_hash: hex(crypto_hash),
    is_placeholder_selection: description.placeholder, proof,
  } };
}

async function contest(of, description, chosen, openings) {
  let open = description.limit - chosen.length;
  if (open < 0) throw new Error("More choices than the contest allows");
  const lines = [];
  for (const each of description.lines) {
    const vote = each.placeholder ? Number(open-- > 0) : Number(chosen.includes(each.id));
    lines.push(await line(of, each, vote, openings));
  }
  const pad = lines.map((each) => each.pad).reduce(times, 1n);
  const data = lines.map((each) => each.data).reduce(times, 1n);
  const r = lines.map((each) => each.r).reduce((a, b) => mod(a + b), 0n);
  const u = random();
  const [a, b] = [of.g.power(u), of.k.power(u)];
  const c = await hash(of.extended, pad, data, a, b);
  const crypto_hash = await hash(description.id, fromHex(description.hash), ...lines.map((each) => each.crypto_hash));
  return { crypto_hash, document: {
    object_id: description.id, sequence_order: description.order, description_hash: description.hash,
    ballot_selections: lines.map((each) => each.document),
    ciphertext_accumulation: { pad: hex(pad), data: hex(data) }, crypto_hash: hex(crypto_hash),
    proof: { pad: hex(a), data: hex(b), challenge: hex(c), response: hex(mod(u + c * r)), constant: description.limit },
  } };
}

// The ballot without its state, and the nonces that open it.
export async function encrypted(definition, style, choices) {
  const of = await checked(definition);
  const { contests } = definition.styles.find((each) => each.id === style);
  const openings = {};
  const parts = [];
  for (const each of contests) parts.push(await contest(of, each, choices[each.id] || [], openings));
  const object_id = `browser-${hex(random()).slice(0, 32).toLowerCase()}`;
  const timestamp = Math.floor(Date.now() / 1000);
  const crypto_hash = await hash(object_id, of.manifest, ...parts.map((each) => each.crypto_hash));
  const code = hex(await hash(of.manifest, timestamp, crypto_hash));
  const ballot = {
    object_id, style_id: style, manifest_hash: hex(of.manifest), code_seed: hex(of.manifest),
    contests: parts.map((each) => each.document), code, timestamp, crypto_hash: hex(crypto_hash),
  };
  return { ballot, openings };
}

if (typeof WorkerGlobalScope !== "undefined") {
  self.onmessage = ({ data }) => encrypted(...data).then(
    (done) => self.postMessage({ done }), (error) => self.postMessage({ error: error.message }));
}
