// Parts of several pages: bars, the curve of votes over time, the proof.

import { h, svg } from "./dom.js";
import { get } from "./api.js";
import { clock, fmt, percent, t, when } from "./words.js";

export class Bars {
  // options: [{key, text, mine}]
  constructor(options) {
    this.rows = new Map();
    this.list = h("ul", { class: "bars" }, options.map((option) => this.row(option)));
    this.element = this.list;
  }

  row({ key, text, mine }) {
    const fill = h("div", { class: "fill" });
    const count = h("span", { class: "count" });
    const ahead = h("span", { class: "badge", hidden: true });
    const item = h("li", {},
      h("div", { class: "label" }, h("span", {}, text, " ", mine ? h("span", { class: "badge good" }, t("yourVote")) : null, " ", ahead), count),
      h("div", { class: "track", "aria-hidden": "true" }, fill));
    this.rows.set(String(key), { item, fill, count, ahead });
    return item;
  }

  // lead: keys to mark with `word`; by default the one with the most votes. notes: key -> text instead of figures.
  update(totals, { total = sum(totals), lead = leaders(totals), word = t("lead"), notes = {} } = {}) {
    for (const key of Object.keys(totals)) if (!this.rows.has(key)) this.list.append(this.row({ key, text: key }));
    for (const [key, row] of this.rows) {
      const votes = totals[key] || 0;
      row.fill.style.width = `${total ? (100 * votes) / total : 0}%`;
      row.count.textContent = notes[key] || `${fmt(votes)} · ${percent(votes, total)}`;
      const leads = lead.includes(key);
      row.item.classList.toggle("lead", leads);
      row.ahead.hidden = !leads;
      row.ahead.textContent = leads ? word : "";
    }
    return total;
  }
}

export const sum = (totals) => Object.values(totals).reduce((a, b) => a + b, 0);

// Nobody leads in a tie.
export function leaders(totals) {
  const most = Math.max(1, ...Object.values(totals));
  const found = Object.keys(totals).filter((key) => totals[key] === most);
  return found.length === 1 ? found : [];
}

// Redrawn at most every 3 s, since each curve is a query.
export class Turnout {
  constructor(contest) {
    this.contest = contest;
    this.element = h("div");
    this.drawn = 0;
    this.timer = null;
  }

  changed() {
    this.timer ??= setTimeout(() => {
      this.timer = null;
      this.drawn = Date.now();
      turnout(this.contest, this.element);
    }, Math.max(0, this.drawn + 3000 - Date.now()));
  }

  close() {
    clearTimeout(this.timer);
  }
}

async function turnout(contest, element) {
  const line = await get(`/results/${encodeURIComponent(contest)}/timeline`).catch(() => null);
  // Without an answer the curve stays as it was.
  if (!line) return;
  element.replaceChildren();
  if (!line.points.length) {
    element.append(h("p", { class: "soft" }, t("noTurnout")));
    return;
  }
  const start = Date.parse(line.points[0].starts);
  const stop = Date.parse(line.points.at(-1).starts) + line.step_s * 1000;
  let sum = 0;
  const points = [[0, 0]];
  for (const point of line.points) {
    sum += Object.values(point.votes).reduce((a, b) => a + b, 0);
    points.push([(Date.parse(point.starts) + line.step_s * 1000 - start) / (stop - start), sum]);
  }
  const path = points.map(([x, y]) => `${(x * 1000).toFixed(1)},${(200 - (190 * y) / sum).toFixed(1)}`);
  const text = t("turnoutText", sum, when(line.points[0].starts, true), when(stop, true));
  element.append(
    svg("svg", { class: "chart", viewBox: "0 0 1000 200", preserveAspectRatio: "none", role: "img", "aria-label": text },
      svg("polygon", { class: "area", points: `0,200 ${path.join(" ")} 1000,200` }),
      svg("polyline", { class: "line", points: path.join(" ") }),
      svg("line", { class: "base", x1: 0, x2: 1000, y1: 199, y2: 199 })),
    h("p", { class: "soft small" }, text));
}

export function proofCard(proof) {
  if (!proof) return null;
  return h("section", { class: "card" },
    h("h2", {}, t("proof")),
    h("p", { class: `verdict ${proof.final ? "good" : "warn"}` }, proof.final ? t("final") : t("counting")),
    h("p", { class: "small soft" }, t("proofText")),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": t("proof") }, table(
      [t("partition"), t("logId"), [t("offset")]],
      proof.vector.map((p) => [p.partition, h("code", {}, p.log_id), [fmt(p.offset)]]))));
}

// A cell given as an array of one value is a number, aligned right.
export function table(heads, rows) {
  const cell = (tag) => (value) => Array.isArray(value)
    ? h(tag, { class: "num", ...(tag === "th" ? { scope: "col" } : {}) }, ...value.map(String))
    : h(tag, tag === "th" ? { scope: "col" } : {}, value instanceof Node ? value : String(value));
  return h("table", {}, h("thead", {}, h("tr", {}, heads.map(cell("th")))),
    h("tbody", {}, rows.map((row) => h("tr", {}, row.map(cell("td"))))));
}

// What a contest's state means for its figures: [class, text].
export function standingText({ state, final, closes_at: closes }) {
  if (final) return ["good", t("final")];
  if (state === "draft") return ["", t("stateDraft")];
  if (state === "open") return ["", closes ? t("stateOpenUntil", when(closes)) : t("stateOpen")];
  if (state === "not_enforced") return ["warn", t("stateNotEnforced")];
  return state ? ["warn", t("counting")] : ["", t("stateUnknown")];
}

const STALE_MS = 5000;
const OLD_MS = 10000;

// Says whether a feed lives, and when its figures were last known to be right. Needs no message to
// notice that none comes.
export function liveMark() {
  const label = h("span");
  const note = h("span");
  const element = h("span", { class: "live" }, label, " ", note);
  const main = document.getElementById("main");
  let heard = Date.now();
  let right = null;
  let lost = false;
  function show() {
    const now = Date.now();
    const known = right !== null;
    const on = known && !lost && now - heard < STALE_MS && now - right < OLD_MS;
    element.className = `live ${on ? "on" : known ? "old" : ""}`;
    main.classList.toggle("old", known && !on);
    label.textContent = t(on ? "live" : lost ? "offline" : known ? "stale" : "waiting");
    note.textContent = known ? t(on ? "updated" : "figuresOf", clock(right)) : "";
  }
  function hear() { heard = Date.now(); lost = false; show(); }
  const timer = setInterval(show, 1000);
  show();
  return {
    element,
    hear,
    beat(ageS) { right = Date.now() - 1000 * ageS; hear(); },
    lose() { lost = true; show(); },
    silentMs: () => Date.now() - heard,
    close() { clearInterval(timer); main.classList.remove("old"); },
  };
}
