// Parts of an election's page: one seat with its candidates and rounds, seats by party, regions.

import { h } from "./dom.js";
import { Bars, sum, table } from "./parts.js";
import { fmt, percent, t } from "./words.js";

export const nameOf = ({ name, party }) => `${name}${party ? ` (${party})` : ""}`;

const OPEN_AT_MOST = 12;
const HUES = ["#3366cc", "#cc6633", "#2e8b57", "#8a2be2", "#b8860b", "#c71585", "#008b8b", "#6b8e23"];

// The colour of each party, as its definition has it or else one of our own; regions tell candidates without a party apart too.
export function coloursOf({ parties, choices, by_region: regions }) {
  const named = parties.filter((party) => party.code != null).sort((a, b) => (a.code < b.code ? -1 : 1));
  const found = new Map(named.map(({ code, color }, n) => [code, color && CSS.supports("color", color) ? color : HUES[n % HUES.length]]));
  const alone = regions.length ? choices.filter((one) => one.party == null).sort((a, b) => a.id - b.id) : [];
  if (found.size + alone.length <= HUES.length) for (const one of alone) found.set(`#${one.id}`, HUES[found.size]);
  return found;
}

export const colourOf = (colours, one) => one && colours.get(one.party ?? `#${one.id}`);

// One seat: who leads or is elected, and every round of a ranked count.
export class SeatCard {
  // inside: the region around it has its name and its total.
  constructor(ranked, inside = false) {
    this.ranked = ranked;
    this.bars = new Bars([], { sorted: true });
    this.name = h("h2", {});
    this.total = h("span", { class: "soft" });
    this.note = h("p", { class: "soft small" });
    this.rounds = h("div");
    this.element = h(inside ? "div" : "section", { class: inside ? "" : "card" }, inside ? null : h("div", { class: "row between" }, this.name, this.total),
      this.note, this.bars.element, this.rounds);
  }

  update(seat, phase, colours, national) {
    const final = phase === "final";
    const last = seat.rounds.at(-1);
    this.names = Object.fromEntries(seat.choices.map((one) => [one.id, nameOf(one)]));
    this.name.textContent = seat.region || national;
    for (const one of seat.choices) this.bars.name(one.id, nameOf(one), colourOf(colours, one), one.photo_url);
    const votes = this.ranked ? numbers(last ? last.votes : {}) : Object.fromEntries(seat.choices.map((one) => [one.id, one.votes]));
    const notes = Object.fromEntries(this.ranked ? seat.rounds.flatMap((r) => r.eliminations.map((name) => [name, t("outIn", r.round)])) : []);
    const lead = seat.choices.filter((one) => one.leading || one.elected).map((one) => one.id);
    this.total.textContent = t("votes", seat.ballots);
    this.note.textContent = this.remarks(seat).join(" ");
    this.element.hidden = seat.outcome === "hidden";
    this.bars.update(votes, { total: sum(votes), lead, word: t(final ? "elected" : "lead"), notes });
    if (this.ranked && last) this.rounds.replaceChildren(this.details(seat));
    if (seat.lists.length) this.rounds.replaceChildren(this.lists(seat, final));
  }

  // What a voter must know beside the figures: who does not stand any more, and why nobody is elected.
  remarks(seat) {
    const names = (ids) => ids.map((id) => this.names[id]).join(", ");
    const tied = seat.choices.filter((one) => one.tied).map((one) => one.id);
    const about = seat.lot_between.length ? seat.lot_between : seat.missed == null ? [] : [seat.missed];
    const withdrawn = seat.rounds.length ? seat.rounds[0].inactive.withdrawn : 0;
    return [tied.length && seat.outcome === "tied" ? t("tiedNames", names(tied)) : "",
      t(`out_${seat.outcome}`, names(about)) || "",
      seat.margin ? t("margin", seat.margin) : "",
      ...seat.choices.filter((one) => one.withdrawn).map((one) => t("noLonger", one.name, one.withdrawn)),
      withdrawn ? t("withdrawnVotes", withdrawn) : ""].filter(Boolean);
  }

  lists(seat, final) {
    return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": t("parties") }, table(
      [t("party"), [t("votes2")], [t(final ? "seats" : "leadsIn")]],
      seat.lists.map((one) => [one.party_code || this.names[one.candidate_id] || one.list, [fmt(one.votes)], [fmt(final ? one.seats : one.leading)]])));
  }

  // A row for each candidate; beside the votes, what each round gave or took.
  details(seat) {
    const open = this.rounds.querySelector("details[open]") !== null;
    const cells = (of) => seat.rounds.map((round) => [of(round) === undefined ? "" : of(round)]);
    const moved = (id) => (round) => {
      if (round.votes[id] === undefined) return undefined;
      const before = seat.rounds[round.round - 2];
      const votes = Number(round.votes[id]);
      const gained = before ? votes - Number(before.votes[id]) : 0;
      return `${fmt(votes)}${gained ? ` (${gained > 0 ? "+" : ""}${fmt(gained)})` : ""}`;
    };
    const rows = Object.keys(seat.rounds[0].votes).map((id) => [this.names[id], ...cells(moved(id))]);
    rows.push([t("exhausted"), ...cells((round) => fmt(Number(round.exhausted)))]);
    const label = `${t("rounds")}: ${this.name.textContent}`;
    return h("details", { open }, h("summary", {}, t("rounds")),
      h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label },
        table([t("choice"), ...seat.rounds.map((round) => [t("round", round.round)])], rows)));
  }
}

// Votes of a transferable vote are text, since they have decimal places.
const numbers = (votes) => Object.fromEntries(Object.entries(votes).map(([id, number]) => [id, Number(number)]));

// Seats by party: a bar with the line of the majority, and a table.
export class PartyCard {
  constructor() {
    this.bar = h("div", { class: "seats", role: "img" });
    this.line = h("p", { class: "small soft" });
    this.table = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": t("parties") });
    this.element = h("section", { class: "card" }, h("h2", {}, t("parties")), this.bar, this.line, this.table);
  }

  update({ parties, phase }, seats, colours) {
    const final = phase === "final";
    const total = sum(parties.map((party) => party.votes));
    const name = (party) => (party.code == null ? t("noParty") : party.name && party.name !== party.code ? `${party.code} · ${party.name}` : party.code);
    const won = parties.filter((party) => party.seats);
    this.element.hidden = !parties.some((party) => party.code != null);
    this.bar.setAttribute("aria-label", won.map((party) => `${name(party)}: ${party.seats}`).join(", ") || t("noSeats"));
    this.bar.replaceChildren(...won.map((party) => {
      const part = h("span", { title: `${name(party)}: ${party.seats}` });
      part.style.flexGrow = party.seats;
      part.style.background = colours.get(party.code) || "";
      return part;
    }), rest(seats - sum(won.map((party) => party.seats))), h("i", { class: "majority" }));
    this.line.textContent = t("majority", Math.floor(seats / 2) + 1, seats);
    this.table.replaceChildren(table(
      [t("party"), [t("votes2")], [t("share2")], [t(final ? "seats" : "leadsIn")]],
      parties.map((party) => [h("span", {}, dot(colours.get(party.code)), name(party)), [fmt(party.votes)], [percent(party.votes, total)], [fmt(party.seats)]])));
  }
}

function rest(seats) {
  const part = h("span", { class: "rest" });
  part.style.flexGrow = seats;
  return part;
}

function dot(colour) {
  if (!colour) return null;
  const mark = h("span", { class: "dot", "aria-hidden": "true" });
  mark.style.background = colour;
  return mark;
}

// Regions, each live. Many are a list with a search; a region is drawn when it is opened.
export class RegionList {
  constructor(ranked) {
    this.ranked = ranked;
    this.shown = new Map();
    this.search = h("input", { type: "search", maxlength: 60, "aria-label": t("findRegion"), placeholder: t("findRegion"), oninput: () => this.filter() });
    this.count = h("p", { class: "soft small", role: "status" });
    this.tools = h("div", { hidden: true, class: "noprint" }, this.search, this.count);
    this.list = h("div", { class: "stack" });
    this.element = h("div", { class: "stack" }, this.tools, this.list);
  }

  updateSeats(seats, phase, colours) {
    this.heads(seats.length);
    const look = `${phase} ${[...colours]}`;
    const same = look === this.look;
    this.look = look;
    for (const seat of seats) {
      if (same && this.shown.get(seat.region_id)?.seat === seat) continue;
      const entry = this.entry(seat.region_id, seat.region, seats.length, () => new SeatCard(this.ranked, true));
      const ahead = seat.choices.find((one) => one.leading || one.elected);
      const tied = !ahead && seat.ballots > 0 && seat.choices.some((one) => one.tied);
      entry.seat = seat;
      entry.told({
        votes: t("votes", seat.ballots), text: ahead ? `${nameOf(ahead)} · ${t(ahead.elected ? "elected" : "lead")}` : tied ? t("tie") : "",
        colour: colourOf(colours, ahead), key: ahead ? `of ${ahead.party ?? ""}` : tied ? "tied" : "", leader: ahead && (ahead.party ?? t("alone")),
      });
      entry.update((card) => card.update(seat, phase, colours));
    }
    this.drawMap();
  }

  // Of candidates who stand in the whole country: who voted for whom where.
  updateVotes(regions, choices, colours) {
    if (regions.length) this.heads(regions.length);
    const names = new Map(choices.map((one) => [one.id, one]));
    for (const region of regions) {
      const entry = this.entry(region.region_id, region.region, regions.length, () => new RegionVotes(this.ranked));
      const [most, second] = Object.entries(region.votes).sort((a, b) => b[1] - a[1]);
      const tied = second && second[1] === most[1];
      const ahead = most && !tied && !this.ranked ? names.get(most[0]) : null;
      entry.told({
        votes: t("votes", region.ballots), text: ahead ? nameOf(ahead) : tied && !this.ranked ? t("tie") : "",
        colour: colourOf(colours, ahead), key: ahead ? `of ${ahead.id}` : tied ? "tied" : "", leader: ahead && nameOf(ahead),
      });
      entry.update((card) => card.update(region, choices, colours));
    }
    this.drawMap();
  }

  drawMap() {
    this.map?.update([...this.shown].map(([id, entry]) => [id, { name: entry.name, ...entry.said }]));
  }

  // Opens a region that was chosen on the map.
  show(id) {
    const entry = this.shown.get(Number(id));
    if (this.search.value) { this.search.value = ""; this.filter(); }
    entry.element.open = true;
    entry.element.scrollIntoView({ block: "center" });
    entry.element.querySelector("summary").focus({ preventScroll: true });
  }

  heads(number) {
    if (!this.title) {
      this.title = h("h2", {}, t("byRegion"));
      this.element.prepend(this.title);
    }
    this.tools.hidden = number <= OPEN_AT_MOST;
  }

  entry(id, name, number, made) {
    if (!this.shown.has(id)) {
      const entry = new Region(name, made, number <= OPEN_AT_MOST);
      this.shown.set(id, entry);
      this.list.append(entry.element);
    }
    return this.shown.get(id);
  }

  filter() {
    const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
    const wanted = plain(this.search.value);
    let found = 0;
    for (const entry of this.shown.values()) {
      entry.element.hidden = !plain(entry.name).includes(wanted);
      found += !entry.element.hidden;
    }
    this.count.textContent = t("regionsFound", found, this.shown.size);
  }
}

class Region {
  constructor(name, made, open) {
    this.name = name;
    this.made = made;
    this.card = null;
    this.latest = null;
    this.seat = null;
    this.total = h("span", { class: "soft" });
    this.ahead = h("span", { class: "small" });
    this.inside = h("div");
    const head = h("summary", { class: "row between" }, h("span", { class: "region" }, name), this.ahead, this.total);
    this.element = h("details", { class: "card", open, ontoggle: () => this.draw() }, head, this.inside);
  }

  // What the head of a region and the map say.
  told(said) {
    this.said = said;
    this.total.textContent = said.votes;
    this.ahead.replaceChildren(...(said.text ? [dot(said.colour), said.text] : []).filter(Boolean));
  }

  update(show) {
    this.latest = show;
    this.draw();
  }

  draw() {
    if (!this.element.open || !this.latest) return;
    if (!this.card) {
      this.card = this.made();
      this.inside.replaceChildren(this.card.element);
    }
    this.latest(this.card);
  }
}

class RegionVotes {
  constructor(ranked) {
    this.ranked = ranked;
    this.bars = new Bars([], { sorted: true });
    this.element = h("div", {}, ranked ? h("p", { class: "soft small" }, t("firstChoices")) : null, this.bars.element);
  }

  update(region, choices, colours) {
    for (const one of choices) this.bars.name(one.id, nameOf(one), colourOf(colours, one));
    const votes = Object.fromEntries(choices.map((one) => [one.id, region.votes[one.id] || 0]));
    this.bars.update(votes, this.ranked ? { lead: [] } : { word: t("most") });
  }
}
