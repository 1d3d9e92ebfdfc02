// Elections: the list, and one election with its seats, rounds, parties and regions. All figures of a
// page are of one count, so that regions and the country agree.

import { h } from "./dom.js";
import { get } from "./api.js";
import { Bars, sum, table } from "./parts.js";
import { contestFrame, contestPage } from "./results.js";
import { clock, fmt, percent, t } from "./words.js";

const REFRESH_MS = 2000;

export async function electionsPage(main) {
  document.title = `${t("elections")} · Scrutin`;
  const [known, contests] = await Promise.all([get("/api/v1/elections"), get("/results")]);
  const names = new Map(known.map((e) => [String(e.id), e.election_name]));
  for (const c of contests) if (c.startsWith("election:") && c.length > 9 && !names.has(c.slice(9))) names.set(c.slice(9), c.slice(9));
  main.replaceChildren(h("h1", {}, t("elections")), names.size
    ? h("ul", { class: "grid" }, [...names].map(([id, name]) => h("li", { class: "card" }, h("h2", {}, h("a", { href: `/election/${encodeURIComponent(id)}` }, name)))))
    : h("p", { class: "soft" }, t("noElections")));
}

export async function electionPage(main, id, leave) {
  const path = `/api/v1/elections/${encodeURIComponent(id)}/results`;
  const socket = `/ws/elections/${encodeURIComponent(id)}/`;
  let shown = await get(path).catch((error) => { if (error.status === 404) return null; throw error; });
  if (!shown) return contestPage(main, { contest: `election:${id}`, socket, title: `${t("elections")} ${id}`, options: [] }, leave);
  const view = new Count(shown);
  let said = { total: shown.total_votes, final: shown.final };
  let timer = null;
  let asked = Date.now();
  // Counts again until the count has all votes that the live feed has.
  function refresh() {
    view.update(shown, said.total);
    if (timer !== null || (shown.total_votes === said.total && shown.final === said.final)) return;
    timer = setTimeout(async () => {
      asked = Date.now();
      shown = await get(path).catch(() => shown);
      timer = null;
      refresh();
    }, Math.max(0, asked + REFRESH_MS - Date.now()));
  }
  refresh();
  contestFrame(main, {
    contest: `election:${id}`, socket, title: shown.election_name, card: view.head, below: view.element,
    changed(_, standing, total) { said = { total, final: Boolean(standing.final) }; refresh(); },
  }, leave);
  leave(() => { clearTimeout(timer); timer = 0; });
}

function turnoutText({ ballots, eligible, blank }) {
  return [eligible ? t("turnoutOf", ballots, eligible, percent(ballots, eligible)) : "", blank ? t("blanks", blank) : ""].filter(Boolean).join(" ");
}

const named = (candidate) => `${candidate.name}${candidate.party_code ? ` (${candidate.party_code})` : ""}`;

class Count {
  constructor(count) {
    const ranked = count.voting_method.startsWith("ranked");
    this.total = h("span", { class: "big" });
    this.note = h("p", { class: "soft small" });
    this.parties = h("div");
    this.seats = count.seats.map((seat) => new Seat(seat, ranked));
    this.ranked = ranked;
    this.regions = new Map();
    this.byRegion = h("div", { class: "stack" });
    this.seed = h("p", { class: "soft small" });
    this.head = [h("div", { class: "row between" }, h("h2", {}, t("results")), this.total), this.note,
      ranked ? h("p", { class: "small" }, t("rankedNote")) : null, this.parties];
    this.element = h("div", { class: "stack" }, this.seats.map((seat) => seat.element), this.byRegion, this.seed);
  }

  update(count, total) {
    const waiting = total - count.total_votes;
    this.total.textContent = t("votes", count.total_votes);
    this.note.textContent = [t("countedAt", clock(Date.parse(count.counted_at))), waiting > 0 ? t("moreVotes", waiting) : "",
      count.hidden ? t("hiddenNote") : "", turnoutText(count.turnout), count.uncountable ? t("uncountable", count.uncountable) : ""].filter(Boolean).join(" ");
    count.seats.forEach((seat, n) => this.seats[n] && this.seats[n].update(seat, count.final));
    this.seed.textContent = count.seed_commitment ? t("seedOf", count.seed || t("notRevealed"), count.seed_commitment) : "";
    if ((count.seats.length > 1 || count.seats.some((seat) => seat.seats > 1)) && count.parties.some((p) => p.party_code)) this.parties.replaceChildren(partyTable(count));
    for (const region of count.by_region) this.region(region, count.seats[0].candidates);
  }

  // Of candidates who stand in the whole country.
  region({ region_id: id, region_name: name, votes }, candidates) {
    if (!this.regions.size) this.byRegion.replaceChildren(h("h2", {}, t("byRegion")));
    if (!this.regions.has(id)) {
      const bars = new Bars(candidates.map((c) => ({ key: c.candidate_id, text: named(c) })));
      const total = h("span", { class: "soft" });
      this.regions.set(id, { bars, total });
      this.byRegion.append(h("section", { class: "card" }, h("div", { class: "row between" }, h("h3", {}, name), total),
        this.ranked ? h("p", { class: "soft small" }, t("firstChoices")) : null, bars.element));
    }
    const { bars, total } = this.regions.get(id);
    total.textContent = t("votes", bars.update(votes, this.ranked ? { lead: [] } : { word: t("most") }));
  }
}

class Seat {
  constructor(seat, ranked) {
    this.ranked = ranked;
    this.names = Object.fromEntries(seat.candidates.map((c) => [String(c.candidate_id), named(c)]));
    this.bars = new Bars(seat.candidates.map((c) => ({ key: c.candidate_id, text: named(c) })));
    this.total = h("span", { class: "soft" });
    this.note = h("p", { class: "soft small" });
    this.rounds = h("div");
    this.element = h("section", { class: "card" }, h("div", { class: "row between" }, h("h2", {}, seat.region_name || t("national")), this.total),
      this.note, this.bars.element, this.rounds);
  }

  update(seat, final) {
    const won = final ? seat.all_elected : seat.all_leading;
    const last = seat.rounds.at(-1);
    const votes = this.ranked ? numbers(last ? last.votes : {}) : Object.fromEntries(seat.candidates.map((c) => [c.candidate_id, c.votes]));
    const notes = Object.fromEntries(this.ranked ? seat.rounds.flatMap((r) => r.eliminations.map((name) => [name, t("outIn", r.round)])) : []);
    this.total.textContent = t("votes", seat.ballots);
    this.note.textContent = this.remarks(seat).join(" ");
    this.element.hidden = seat.outcome === "hidden";
    this.bars.update(votes, { total: sum(votes), lead: won.map(String), word: t(final ? "elected" : "lead"), notes });
    if (this.ranked && last) this.rounds.replaceChildren(this.details(seat));
    if (seat.lists.length) this.rounds.replaceChildren(this.lists(seat, final));
  }

  // What a voter must know beside the figures: who does not stand any more, and why nobody is elected.
  remarks(seat) {
    const names = (ids) => ids.map((id) => this.names[id]).join(", ");
    const about = seat.lot_between.length ? seat.lot_between : seat.missed === null ? [] : [seat.missed];
    const withdrawn = seat.rounds.length ? seat.rounds[0].inactive.withdrawn : 0;
    return [seat.tied.length && seat.outcome === "tied" ? t("tiedNames", names(seat.tied)) : "",
      t(`out_${seat.outcome}`, names(about)) || "",
      ...seat.candidates.filter((c) => c.withdrawn).map((c) => t("noLonger", c.name, c.withdrawn)),
      withdrawn ? t("withdrawnVotes", withdrawn) : ""].filter(Boolean);
  }

  lists(seat, final) {
    return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": t("parties") }, table(
      [t("party"), [t("votes2")], [t(final ? "seats" : "leadsIn")]],
      seat.lists.map((one) => [one.party_code || this.names[one.candidate_id] || one.list, [fmt(one.votes)], [fmt(final ? one.seats : one.leading)]])));
  }

  details(seat) {
    const open = this.rounds.querySelector("details[open]") !== null;
    const cells = (of) => seat.rounds.map((round) => [of(round) === undefined ? "" : fmt(Number(of(round)))]);
    const rows = Object.keys(seat.rounds[0].votes).map((id) => [this.names[id], ...cells((round) => round.votes[id])]);
    rows.push([t("exhausted"), ...cells((round) => round.exhausted)]);
    const label = `${t("rounds")}: ${seat.region_name || t("national")}`;
    return h("details", { open }, h("summary", {}, t("rounds")),
      h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label },
        table([t("choice"), ...seat.rounds.map((round) => [t("round", round.round)])], rows)));
  }
}

// Votes of a transferable vote are text, since they have decimal places.
const numbers = (votes) => Object.fromEntries(Object.entries(votes).map(([id, number]) => [id, Number(number)]));

function partyTable(count) {
  const total = sum(count.parties.map((p) => p.votes));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": t("parties") }, table(
    [t("party"), [t("votes2")], [t("share2")], [t(count.final ? "seats" : "leadsIn")]],
    count.parties.map((p) => [p.party_code || t("noParty"), [fmt(p.votes)], [percent(p.votes, total)], [fmt(count.final ? p.seats : p.leading)]])));
}
