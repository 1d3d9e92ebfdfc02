// Laws: the list, one law; and what the pages of laws and elections share.

import { h } from "./dom.js";
import { get, Problem } from "./api.js";
import { Live } from "./live.js";
import { Bars, liveMark, proofCard, standingText, Turnout } from "./parts.js";
import { clock, t } from "./words.js";

const LAW_OPTIONS = () => [{ key: "oui", text: t("oui") }, { key: "non", text: t("non") }];

function outcome(yes, no) {
  if (!yes && !no) return t("noVotes");
  if (yes === no) return t("tie");
  return yes > no ? t("adopted") : t("rejected");
}

export async function lawsPage(main) {
  document.title = `${t("laws")} · Scrutin`;
  const laws = await get("/api/v1/results");
  main.replaceChildren(h("h1", {}, t("laws")), laws.length ? h("ul", { class: "grid" }, laws.map((law) => {
    const bars = new Bars(LAW_OPTIONS());
    bars.update({ oui: law.oui_count, non: law.non_count });
    return h("li", { class: "card" }, h("span", { class: "badge" }, outcome(law.oui_count, law.non_count)),
      h("h2", {}, h("a", { href: `/law/${encodeURIComponent(law.law_id)}` }, law.law_id)), bars.element);
  })) : h("p", { class: "soft" }, t("noLaws")), h("p", { class: "soft small" }, t("listedAt", clock(Date.now()))));
}

export function lawPage(main, id, leave) {
  // An id with such a prefix is an election or a poll.
  if (/^(election|poll):/.test(id)) throw new Problem(404, {});
  const verdict = h("p", { class: "verdict", role: "status" });
  return contestPage(main, {
    contest: id, socket: `/ws/laws/${encodeURIComponent(id)}/`, title: `${t("law")} ${id}`, options: LAW_OPTIONS(), above: verdict,
    changed(totals) { verdict.textContent = outcome(totals.oui || 0, totals.non || 0); },
  }, leave);
}

// A contest of which only the totals are known. Without any, there is no such contest.
export async function contestPage(main, view, leave) {
  await get(`/results/${encodeURIComponent(view.contest)}`);
  const bars = new Bars(view.options);
  const total = h("span", { class: "big" });
  contestFrame(main, {
    ...view,
    card: [view.above || null, h("div", { class: "row between" }, h("h2", {}, t("results")), total), bars.element],
    changed(totals, standing) {
      total.textContent = t("votes", bars.update(totals, { word: t(standing.final ? "most" : "lead") }));
      if (view.changed) view.changed(totals);
    },
  }, leave);
}

// Title, state, live mark, turnout and proof, around what a page shows of its contest.
export function contestFrame(main, view, leave) {
  document.title = `${view.title} · Scrutin`;
  const state = h("p", { role: "status" });
  const mark = liveMark();
  const chart = new Turnout(view.contest);
  const proof = h("div");
  let proved = null;
  main.replaceChildren(h("div", { class: "stack" },
    h("section", { class: "card" }, h("div", { class: "row between" }, h("h1", {}, view.title), mark.element), state, view.card),
    view.below || null,
    h("section", { class: "card" }, h("h2", {}, t("turnout")), chart.element), proof));
  async function prove(final) {
    proved = final;
    const found = await get(`/results/${encodeURIComponent(view.contest)}`).catch(() => null);
    if (found) proof.replaceChildren(proofCard(found.final) || "");
    else proved = null;
  }
  const live = new Live(view.socket, (totals, standing, total) => {
    const [kind, text] = standingText(standing);
    state.className = kind ? `verdict ${kind}` : "soft small";
    state.textContent = text;
    view.changed(totals, standing, total);
    // Load the proof when the contest closes, and again when the result is final.
    if (["closed", "archived"].includes(standing.state) && proved !== standing.final) prove(standing.final);
    chart.changed();
  }, mark);
  leave(() => { live.close(); chart.close(); });
}
