// The receipt of a vote: a card to keep, and a page that says the outcome of the vote.

import { h, say } from "./dom.js";
import { get } from "./api.js";
import { clock, t } from "./words.js";

const LOOK_MS = 5000;
const WAIT_MS = 1000;
const QUIET = 4;
const KINDS = { counted: "good", duplicate: "bad", invalid: "bad", replaced: "warn" };
const LASTING = ["counted", "duplicate", "invalid", "replaced"];

const pathOf = (receipt) => `/r/${encodeURIComponent(receipt)}`;

export const fateText = ({ status, reason }) => (status === "invalid" ? `${t("invalid")} ${reason}` : t(status));
export const fateClass = ({ status }) => `verdict ${KINDS[status] || "warn"}`;

// What a voter can keep: a link, a file and a code for another device's camera.
export function receiptCard(receipt) {
  const address = location.origin + pathOf(receipt);
  const picture = h("div", { class: "qr" });
  draw(picture, address);
  return h("section", { class: "card receipt" }, h("h2", {}, t("receipt")), h("p", { class: "small" }, t("receiptText")),
    h("p", {}, h("a", { href: pathOf(receipt) }, t("receiptLink"))),
    picture,
    h("div", { class: "row noprint" },
      h("button", { class: "plain", type: "button", onclick: () => copy(address) }, t("share")),
      h("a", { class: "button", href: textFile(`${address}\n`), download: "receipt.txt", "data-file": true }, t("keepFile")),
      h("button", { class: "plain", type: "button", onclick: () => print() }, t("print"))));
}

async function copy(text) {
  try { await navigator.clipboard.writeText(text); say(t("shared")); } catch { say(text); }
}

const textFile = (text) => URL.createObjectURL(new Blob([text], { type: "text/plain" }));

async function draw(holder, text) {
  const { encode } = await import("./uqr.js");
  const { data, size } = encode(text, { border: 0, ecc: "L" });
  const dots = data.flatMap((row, y) => row.flatMap((dark, x) => (dark ? [`M${x + QUIET} ${y + QUIET}h1v1h-1z`] : []))).join("");
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS(svg.namespaceURI, "path");
  path.setAttribute("d", dots);
  svg.setAttribute("viewBox", `0 0 ${size + 2 * QUIET} ${size + 2 * QUIET}`);
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", t("receiptCode"));
  svg.append(path);
  holder.replaceChildren(svg);
}

// Asks until nothing changes any more: first whether the vote counts, then for its place in the signed log.
export async function receiptPage(main, receipt, leave) {
  document.title = `${t("receipt")} · Scrutin`;
  const verdict = h("p", { role: "status" });
  const proof = h("div");
  const asked = h("p", { class: "soft small" });
  let found = await get(`/votes/${encodeURIComponent(receipt)}`);
  let timer = null;
  main.replaceChildren(h("div", { class: "stack" },
    h("section", { class: "card" }, h("h1", {}, t("receiptTitle")), verdict, asked), proof, receiptCard(receipt)));
  function show() {
    verdict.className = fateClass(found);
    verdict.textContent = fateText(found);
    asked.textContent = t("listedAt", clock(Date.now()));
  }
  async function look() {
    found = await get(`/votes/${encodeURIComponent(receipt)}`).catch(() => found);
    show();
    const placed = LASTING.includes(found.status) && await place(receipt, proof);
    // A vote that counts may still be replaced where the last vote counts.
    timer = setTimeout(look, found.status === "pending" ? WAIT_MS : placed ? 6 * LOOK_MS : LOOK_MS);
  }
  leave(() => clearTimeout(timer));
  show();
  look();
}

// Where the verdict is in the signed log; returns whether it is there.
async function place(receipt, holder) {
  const given = await get(`/v2/receipts/${encodeURIComponent(receipt)}`).catch((error) => ({ trouble: error }));
  if (given.trouble) {
    // No proof is kept here, or nobody can answer now; 409 is for the voter to tell.
    if (given.trouble.status === 409) holder.replaceChildren(h("p", { class: "verdict bad", role: "alert" }, given.trouble.message));
    return false;
  }
  if (given.status === "pending") {
    holder.replaceChildren(h("p", { class: "soft small" }, t("notSigned")));
    return false;
  }
  holder.replaceChildren(h("section", { class: "card" }, h("h2", {}, t("placed")), h("p", {}, t("placedText", given.tree, given.index)),
    h("p", { class: "small" }, t("placedCheck"), " ", h("code", {}, "proof/verify.html")),
    h("p", {}, h("a", { class: "button", href: textFile(JSON.stringify(given, null, 2)), download: "receipt.json", "data-file": true }, t("keepProof")))));
  return true;
}
