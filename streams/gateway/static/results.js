// Laws and elections: lists, one law, one election with its regions.

import { h } from "./dom.js";
import { get } from "./api.js";
import { Live } from "./live.js";
import { Bars, liveMark, proofCard, Turnout } from "./parts.js";
import { t } from "./words.js";

export function outcome(yes, no) {
  if (!yes && !no) return ["", t("noVotes")];
  if (yes === no) return ["warn", t("tie")];
  return yes > no ? ["good", t("adopted")] : ["bad", t("rejected")];
}

export async function lawsPage(main) {
  document.title = `${t("laws")} · Scrutin`;
  const laws = await get("/api/v1/results");
  main.replaceChildren(h("h1", {}, t("laws")), laws.length ? h("ul", { class: "grid" }, laws.map((law) => {
    const [kind, text] = outcome(law.oui_count, law.non_count);
    const bars = new Bars([{ key: "oui", text: t("oui") }, { key: "non", text: t("non") }]);
    bars.update({ oui: law.oui_count, non: law.non_count });
    return h("li", { class: "card" }, h("span", { class: `badge ${kind}` }, text),
      h("h2", {}, h("a", { href: `/law/${encodeURIComponent(law.law_id)}` }, law.law_id)), bars.element);
  })) : h("p", { class: "soft" }, t("noLaws")));
}

export function lawPage(main, id, leave) {
  const verdict = h("p", { class: "verdict", role: "status" });
  return contestPage(main, {
    contest: id, socket: `/ws/laws/${encodeURIComponent(id)}/`, title: `${t("law")} ${id}`,
    options: [{ key: "oui", text: t("oui") }, { key: "non", text: t("non") }], above: verdict,
    changed(totals) {
      const [kind, text] = outcome(totals.oui || 0, totals.non || 0);
      verdict.className = `verdict ${kind}`;
      verdict.textContent = text;
    },
  }, leave);
}

export async function electionsPage(main) {
  document.title = `${t("elections")} · Scrutin`;
  const [known, contests] = await Promise.all([get("/api/v1/elections"), get("/results")]);
  const names = new Map(known.map((e) => [String(e.id), e.election_name]));
  for (const c of contests) if (c.startsWith("election:") && !names.has(c.slice(9))) names.set(c.slice(9), c.slice(9) || "—");
  main.replaceChildren(h("h1", {}, t("elections")), names.size
    ? h("ul", { class: "grid" }, [...names].map(([id, name]) => h("li", { class: "card" }, h("h2", {}, h("a", { href: `/election/${encodeURIComponent(id)}` }, name)))))
    : h("p", { class: "soft" }, t("noElections")));
}

export async function electionPage(main, id, leave) {
  const regions = h("div");
  const known = (await get("/api/v1/elections")).find((e) => String(e.id) === id);
  const all = known ? await get("/api/v1/regions") : [];
  const found = await Promise.all(all.map((r) => get(`/api/v1/elections/${id}/regions/${r.id}/results`).catch(() => null)));
  const named = found.filter(Boolean).flatMap((r) => r.candidates.map((c) => ({ key: c.candidate_id, text: `${c.name}${c.party_code ? ` (${c.party_code})` : ""}` })));
  for (const region of found.filter(Boolean)) {
    const bars = new Bars(region.candidates.map((c) => ({ key: c.candidate_id, text: c.name })));
    bars.update(Object.fromEntries(region.candidates.map((c) => [c.candidate_id, c.votes])));
    regions.append(h("section", { class: "card" }, h("h2", {}, region.region_name), h("p", { class: "soft" }, t("votes", region.total_votes)), bars.element));
  }
  return contestPage(main, {
    contest: `election:${id}`, socket: `/ws/elections/${encodeURIComponent(id)}/`, title: known ? known.election_name : `${t("elections")} ${id}`,
    options: named, heading: found.length ? t("national") : t("results"), below: regions, changed() {},
  }, leave);
}

async function contestPage(main, view, leave) {
  document.title = `${view.title} · Scrutin`;
  const bars = new Bars(view.options);
  const total = h("span", { class: "big" });
  const mark = liveMark();
  const chart = new Turnout(view.contest);
  const proof = h("div");
  let proved = null;
  main.replaceChildren(h("div", { class: "stack" },
    h("section", { class: "card" },
      h("div", { class: "row between" }, h("h1", {}, view.title), mark.element),
      view.above || null,
      h("div", { class: "row between" }, h("h2", {}, view.heading || t("results")), total), bars.element),
    view.below || null,
    h("section", { class: "card" }, h("h2", {}, t("turnout")), chart.element), proof));
  const closed = () => get(`/results/${encodeURIComponent(view.contest)}`).then((r) => { const card = proofCard(r.final); if (card) proof.replaceChildren(card); }).catch(() => {});
  const live = new Live(view.socket, (totals, standing) => {
    total.textContent = t("votes", bars.update(totals));
    view.changed(totals);
    // Load the proof when the contest closes, and again when the result is final.
    if (standing.state === "closed" && proved !== standing.final) { proved = standing.final; closed(); }
    chart.changed();
  }, (on) => mark.set(on));
  leave(() => { live.close(); chart.close(); });
}

