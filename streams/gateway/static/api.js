// Calls to the gateway; errors are problem+json, in the language of the page.

import { languageNow } from "./words.js";

export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || String(status));
    this.status = status;
    this.faults = body.errors || {};
  }
}

export async function exchange(method, path, body, headers = {}) {
  const options = { method, headers: { "Accept-Language": languageNow(), ...headers } };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const answer = await fetch(path, options);
  const json = answer.status === 204 ? null : await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Problem(answer.status, json || {});
  return { body: json, headers: answer.headers };
}

export const call = async (...given) => (await exchange(...given)).body;

export const get = (path) => call("GET", path);

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

// Waits until a vote is decided; returns its status. The vote is confirmed: a lookup that fails says nothing about it.
export async function fate(receipt) {
  for (let pause = 150; pause < 5000; pause *= 1.4) {
    const found = await get(`/votes/${receipt}`).catch(() => ({ status: "pending" }));
    if (found.status !== "pending") return found;
    await sleep(pause);
  }
  return { status: "late" };
}
