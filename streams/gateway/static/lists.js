// The page that opens first, and the lists of laws and elections.

import { h } from "./dom.js";
import { get } from "./api.js";
import { contestPage, phaseText, verdictOf } from "./contest.js";
import { Bars } from "./parts.js";
import { listPage } from "./polls.js";
import { clock, t, when } from "./words.js";

const LOOK_MS = 10000;
const LATELY_MS = 72 * 3600 * 1000;

const isOn = ({ phase, closed_at: closed }) => ["voting", "counting"].includes(phase) || (phase === "final" && Date.now() - Date.parse(closed) < LATELY_MS);

const onNow = async () => (await get("/v2/contests?kind=election")).filter(isOn);
const keyOf = (on) => on.map((one) => one.id).join();

// While an election is on it is the home page; with several, a list of them. Else polls are.
export async function homePage(main, _, leave, go) {
  const on = await onNow().catch(() => []);
  const timer = setInterval(() => onNow().then((now) => { if (keyOf(now) !== keyOf(on)) go("/"); }, () => {}), LOOK_MS);
  leave(() => clearInterval(timer));
  if (!on.length) return listPage(main, _, leave, go);
  if (on.length === 1) return contestPage(main, on[0].id, leave, on[0].title);
  document.title = `${t("elections")} · Scrutin`;
  main.replaceChildren(h("h1", {}, t("elections")), h("ul", { class: "grid" }, on.map(card)), h("p", {}, h("a", { href: "/p" }, t("polls"))));
  return null;
}

const address = (id) => `/election/${encodeURIComponent(id.replace(/^election:/, ""))}`;

function card(one) {
  const [kind, text] = phaseText(one);
  return h("li", { class: "card" }, h("h2", {}, h("a", { href: address(one.id) }, one.title || one.id)),
    h("p", { class: kind ? `verdict ${kind}` : "soft small" }, text),
    h("p", { class: "soft small" }, [t("votes", one.total_votes), one.closes_at ? t("ends", when(one.closes_at)) : ""].filter(Boolean).join(" · ")));
}

export async function electionsPage(main) {
  document.title = `${t("elections")} · Scrutin`;
  const [announced, defined, voted] = await Promise.all([get("/v2/contests?kind=election"), get("/api/v1/elections"), get("/results")]);
  const cards = new Map(announced.map((one) => [one.id, card(one)]));
  const plain = (id, name) => h("li", { class: "card" }, h("h2", {}, h("a", { href: address(id) }, name)));
  for (const one of defined) if (!cards.has(`election:${one.id}`)) cards.set(`election:${one.id}`, plain(String(one.id), one.election_name));
  for (const id of voted) if (/^election:./.test(id) && !cards.has(id)) cards.set(id, plain(id, id.slice(9)));
  main.replaceChildren(h("h1", {}, t("elections")), cards.size
    ? h("ul", { class: "grid" }, [...cards.values()]) : h("p", { class: "soft" }, t("noElections")));
}

export async function lawsPage(main) {
  document.title = `${t("laws")} · Scrutin`;
  const laws = await get("/api/v1/results");
  main.replaceChildren(h("h1", {}, t("laws")), laws.length ? h("ul", { class: "grid" }, laws.map((law) => {
    const bars = new Bars(["oui", "non"].map((key) => ({ key, text: t(key) })));
    bars.update({ oui: law.oui_count, non: law.non_count });
    return h("li", { class: "card" }, h("span", { class: "badge" }, verdictOf(law.oui_count, law.non_count)),
      h("h2", {}, h("a", { href: `/law/${encodeURIComponent(law.law_id)}` }, law.law_id)), bars.element);
  })) : h("p", { class: "soft" }, t("noLaws")), h("p", { class: "soft small" }, t("listedAt", clock(Date.now()))));
}
