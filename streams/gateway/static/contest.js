// The page of a law or an election. All of its figures come from one document, of one moment of the
// count, so they agree: title, state, total, seats, parties, regions, votes over time and the proof.

import { h, live } from "./dom.js";
import { Problem } from "./api.js";
import { follow, load } from "./feed.js";
import { Bars, countdown, liveMark, checkpointCard, proofCard, sum, Turnout } from "./parts.js";
import { colourOf, coloursOf, nameOf, PartyCard, RegionList, SeatCard } from "./seats.js";
import { languageNow, percent, t, when } from "./words.js";

const SUMMARY_MS = 20000;
const RETRY_MS = 5000;
const OVER = ["counting", "final", "not_enforced"];

export function lawPage(main, id, leave) {
  // An id with such a prefix is an election or a poll.
  if (/^(election|poll):/.test(id)) throw new Problem(404, {});
  return contestPage(main, id, leave, `${t("law")} ${id}`);
}

export const electionPage = (main, id, leave) => contestPage(main, `election:${id}`, leave, `${t("election")} ${id}`);

// A contest inside another site's page.
export function embedPage(main, contest, leave) {
  document.body.classList.add("embedded");
  return contestPage(main, contest, leave, contest);
}

// What the page of every contest has: how old the figures are, their total, votes over time, and the proof.
export class Frame {
  constructor(contest) {
    this.contest = contest;
    this.mark = liveMark();
    this.total = h("span", { class: "big" });
    this.summary = live(SUMMARY_MS);
    this.chart = new Turnout(contest);
    this.signed = h("div");
    this.proof = h("div");
    this.below = [h("section", { class: "card" }, h("h2", {}, t("turnout")), this.chart.element), this.signed, this.proof];
  }

  update(result) {
    this.total.textContent = t("votes", result.total_votes);
    this.summary.say(summaryOf(result));
    if (OVER.includes(result.phase) && this.proved !== result.phase) {
      this.proved = result.phase;
      this.proof.replaceChildren(proofCard(result.proof) || "");
    }
    const place = result.checkpoint ? `${result.checkpoint.size} ${result.checkpoint.witnesses}` : "";
    if (this.place !== place) this.signed.replaceChildren(checkpointCard(result.checkpoint) || "");
    this.place = place;
    const colours = coloursOf(result);
    this.chart.changed(result, (one) => colourOf(colours, one));
  }

  follow(loaded, show, leave) {
    const feed = follow(this.contest, loaded, (result) => { show(result); this.update(result); }, this.mark);
    leave(() => { feed.close(); this.chart.close(); this.summary.close(); });
  }
}

export async function contestPage(main, contest, leave, otherwise) {
  const loaded = await load(contest);
  const frame = new Frame(contest);
  let view = null;
  const head = h("div");
  const body = h("div");
  const phase = h("p", { role: "status" });
  const clock = countdown();
  const notes = h("p", { class: "soft small" });
  const title = h("h1", {});
  const file = (suffix) => `/v2/contests/${encodeURIComponent(contest)}${suffix}`;
  main.replaceChildren(h("div", { class: "stack" },
    h("section", { class: "card" },
      h("div", { class: "row between" }, title, frame.mark.element), phase, clock.element,
      h("div", { class: "row between" }, h("h2", {}, t("results")), frame.total), notes, head, frame.summary.element),
    body,
    frame.below,
    h("p", { class: "small noprint" }, t("takeAway"), " ",
      h("a", { href: file(".csv"), "data-file": true }, "CSV"), " · ", h("a", { href: file(""), "data-file": true }, "JSON"), " · ",
      h("a", { href: `${file(".svg")}?lang=${languageNow()}`, "data-file": true }, "SVG"))));
  function show(result) {
    title.textContent = result.title || otherwise;
    document.title = `${title.textContent} · Scrutin`;
    const [kind, text] = phaseText(result);
    phase.className = kind ? `verdict ${kind}` : "soft small";
    if (phase.textContent !== text) phase.textContent = text;
    clock.until(result.phase === "voting" ? result.closes_at : result.phase === "announced" ? result.opens_at : null, Date.parse(result.read_at));
    notes.textContent = notesOf(result).join(" ");
    // A hidden result gets its seats when it is final.
    const made = Object.keys(result.seats).length ? Seats : Choices;
    if (!(view instanceof made)) {
      view = new made(result);
      head.replaceChildren(view.head || "");
      body.replaceChildren(view.body || "");
    }
    view.update(result);
  }
  frame.follow(loaded, show, leave);
  leave(() => clock.close());
}

// What a contest's phase means for its figures: [class, text].
export function phaseText({ phase, closes_at: closes }) {
  if (phase === "final") return ["good", t("final")];
  if (phase === "announced") return ["", t("stateDraft")];
  if (phase === "voting") return ["", closes ? t("stateOpenUntil", when(closes)) : t("stateOpen")];
  if (phase === "not_enforced") return ["warn", t("stateNotEnforced")];
  return phase === "counting" ? ["warn", t("counting")] : ["", t("stateUnknown")];
}

function notesOf({ hidden, turnout, uncountable, not_counted: not }) {
  const refused = [["duplicate", "refusedDuplicate"], ["invalid", "refusedInvalid"], ["replaced", "refusedReplaced"]]
    .filter(([name]) => not[name]).map(([name, word]) => t(word, not[name]));
  return [hidden ? t("hiddenNote") : "",
    turnout.eligible ? t("turnoutOf", turnout.ballots, turnout.eligible, percent(turnout.ballots, turnout.eligible)) : "",
    turnout.blank ? t("blanks", turnout.blank) : "", uncountable ? t("uncountable", uncountable) : "",
    refused.length ? t("refused", refused.join(", ")) : ""].filter(Boolean);
}

function summaryOf(result) {
  const ahead = result.choices.find((one) => one.leading || one.elected);
  const elects = result.kind === "election" || result.id.startsWith("election:");
  const told = ahead && (ahead.elected && !elects ? `${nameOf(ahead)}: ${t("most")}, ${percent(ahead.share, 1)}`
    : t(ahead.elected ? "saysElected" : "saysLeads", nameOf(ahead), percent(ahead.share, 1)));
  return [t("votes", result.total_votes), told].filter(Boolean).join(". ");
}

// A law, or a contest of which only totals are known.
class Choices {
  constructor({ kind, id }) {
    this.isLaw = kind === "law" || (kind == null && !id.includes(":"));
    this.verdict = h("p", { class: "verdict", role: "status", hidden: !this.isLaw });
    this.bars = new Bars(this.isLaw ? ["oui", "non"].map((key) => ({ key, text: t(key) })) : []);
    this.head = h("div", {}, this.verdict, this.bars.element);
    this.body = null;
  }

  update({ choices, phase }) {
    const totals = Object.fromEntries(choices.map((one) => [one.id, one.votes]));
    for (const one of choices) this.bars.name(one.id, this.isLaw && ["oui", "non"].includes(one.id) ? t(one.id) : one.name);
    this.bars.update(totals, { word: t(phase === "final" ? "most" : "lead") });
    this.verdict.textContent = verdictOf(totals.oui || 0, totals.non || 0);
  }
}

export function verdictOf(yes, no) {
  if (!yes && !no) return t("noVotes");
  if (yes === no) return t("tie");
  return yes > no ? t("adopted") : t("rejected");
}

const seatsOf = (places) => sum(places.map((place) => place.seats));

// An election: its seats, parties and regions.
class Seats {
  constructor(result) {
    const places = Object.values(result.seats);
    this.ranked = result.method?.startsWith("ranked") || false;
    this.national = places.length === 1 && places[0].region_id == null ? new SeatCard(this.ranked) : null;
    this.parties = seatsOf(places) > 1 ? new PartyCard() : null;
    this.regions = new RegionList(this.ranked);
    this.seed = h("p", { class: "soft small" });
    this.head = this.ranked ? h("p", { class: "small" }, t("rankedNote")) : null;
    this.mapPlace = h("div", { hidden: true });
    this.body = h("div", { class: "stack" }, this.national?.element, this.parties?.element, this.mapPlace, this.regions.element, this.seed);
  }

  update(result) {
    const places = Object.values(result.seats);
    const colours = coloursOf(result);
    if (this.national) this.national.update(places[0], result.phase, colours, t("national"));
    this.parties?.update(result, seatsOf(places), colours);
    if (this.national) this.regions.updateVotes(result.by_region, places[0].choices, colours);
    else this.regions.updateSeats(places, result.phase, colours);
    // First choices alone say nobody who is ahead.
    const map = this.national && this.ranked ? "" : result.map || "";
    if (map !== this.mapTag) this.drawMap(result.id, map);
    this.seed.textContent = result.seed_commitment ? t("seedOf", result.seed || t("notRevealed"), result.seed_commitment) : "";
  }

  // The map comes after the figures, and the page goes on without it.
  async drawMap(contest, tag) {
    this.mapTag = tag;
    const drawn = tag ? await import("./map.js").then(({ loadMap }) => loadMap(contest, (id) => this.regions.show(id))).catch(() => null) : null;
    if (this.mapTag !== tag) return;
    if (tag && !drawn) setTimeout(() => { this.mapTag = null; }, RETRY_MS);
    this.regions.map = drawn;
    this.mapPlace.hidden = !drawn;
    this.mapPlace.replaceChildren(drawn ? drawn.element : "");
    this.regions.drawMap();
  }
}
