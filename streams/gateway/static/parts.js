// Parts of several pages: bars, the curve of votes over time, the proof.

import { h } from "./dom.js";
import { get } from "./api.js";
import { clock, fmt, percent, t, timeOf, when } from "./words.js";

const SHOWN_AT_FIRST = 30;
const MOVE_MS = 400;

// Bars of choices. `sorted`: most votes first, and a bar that passes another moves. Of very many
// choices the first ones are shown, and a button shows the rest.
export class Bars {
  // options: [{key, text, mine}]
  constructor(options, { sorted = false } = {}) {
    this.sorted = sorted;
    this.rows = new Map();
    this.list = h("ul", { class: "bars" });
    this.more = h("button", { class: "plain noprint", type: "button", hidden: true, onclick: () => { this.all = true; this.arrange(); } });
    this.element = h("div", {}, this.list, this.more);
    for (const option of options) this.list.append(this.row(option));
  }

  row({ key, text, mine }) {
    const fill = h("div", { class: "fill" });
    const count = h("span", { class: "count" });
    const ahead = h("span", { class: "badge", hidden: true });
    const name = h("bdi", {}, text);
    const item = h("li", {},
      h("div", { class: "label" }, h("span", {}, name, " ", mine ? h("span", { class: "badge good" }, t("yourVote")) : null, " ", ahead), count),
      h("div", { class: "track", "aria-hidden": "true" }, fill));
    this.rows.set(String(key), { item, fill, count, ahead, name, votes: 0 });
    return item;
  }

  // The text of a choice, the colour of its party, and a photo.
  name(key, text, colour, photo) {
    if (!this.rows.has(String(key))) this.list.append(this.row({ key, text }));
    const row = this.rows.get(String(key));
    row.name.textContent = text;
    if (photo && row.photo !== photo) row.name.before(photoOf(photo));
    row.photo = photo;
    if (colour) row.fill.style.background = colour;
  }

  // lead: keys to mark with `word`; by default the one with the most votes. notes: key -> text instead of figures.
  update(totals, { total = sum(totals), lead = leaders(totals), word = t("lead"), notes = {} } = {}) {
    for (const key of Object.keys(totals)) if (!this.rows.has(key)) this.list.append(this.row({ key, text: key }));
    for (const [key, row] of this.rows) {
      const votes = totals[key] || 0;
      row.votes = votes;
      row.fill.style.width = `${total ? (100 * votes) / total : 0}%`;
      row.count.textContent = notes[key] || `${fmt(votes)} · ${percent(votes, total)}`;
      const leads = lead.includes(key);
      row.item.classList.toggle("lead", leads);
      row.ahead.hidden = !leads;
      row.ahead.textContent = leads ? word : "";
    }
    this.arrange();
    return total;
  }

  arrange() {
    const rows = [...this.rows.values()];
    if (this.sorted) rows.sort((a, b) => b.votes - a.votes);
    const limit = this.all ? rows.length : SHOWN_AT_FIRST;
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches || !this.list.isConnected;
    const moved = rows.some((row, n) => this.list.children[n] !== row.item);
    const before = moved && !still ? new Map(rows.map((row) => [row, row.item.offsetTop])) : null;
    if (moved) this.list.replaceChildren(...rows.map((row) => row.item));
    rows.forEach((row, n) => { row.item.hidden = n >= limit; });
    if (before) {
      for (const [row, top] of before) {
        const by = top - row.item.offsetTop;
        if (by && !row.item.hidden) row.item.animate([{ transform: `translateY(${by}px)` }, { transform: "none" }], { duration: MOVE_MS, easing: "ease-out" });
      }
    }
    this.more.hidden = rows.length <= limit;
    this.more.textContent = t("showAll", rows.length);
  }
}

// Photos of the gateway's own origin, and of those that its settings name; other URLs would tell strangers who reads this.
function photoOf(url) {
  const allowed = document.querySelector("meta[name=photos]").content.split(" ");
  const origin = URL.canParse(url, location.href) && new URL(url, location.href).origin;
  if (origin !== location.origin && !allowed.includes(origin)) return "";
  return h("img", { class: "photo", src: url, alt: "", width: 32, height: 32, loading: "lazy", referrerpolicy: "no-referrer", onerror: (event) => event.target.remove() });
}

export const sum = (totals) => Object.values(totals).reduce((a, b) => a + b, 0);

// Nobody leads in a tie.
export function leaders(totals) {
  const most = Math.max(1, ...Object.values(totals));
  const found = Object.keys(totals).filter((key) => totals[key] === most);
  return found.length === 1 ? found : [];
}

// Time until a moment of the server, which may have another clock.
export function countdown() {
  const element = h("p", { class: "countdown", role: "timer", hidden: true });
  let end = null;
  let ahead = 0;
  function show() {
    const left = end === null ? 0 : Math.floor((end - Date.now() - ahead) / 1000);
    element.hidden = left <= 0;
    element.textContent = left > 0 ? t("timeLeft", duration(left)) : "";
  }
  const timer = setInterval(show, 1000);
  return {
    element,
    until(iso, serverMs) { end = iso ? Date.parse(iso) : null; ahead = serverMs - Date.now(); show(); },
    close() { clearInterval(timer); },
  };
}

function duration(seconds) {
  const two = (n) => String(n).padStart(2, "0");
  const days = Math.floor(seconds / 86400);
  const clock = `${Math.floor((seconds % 86400) / 3600)}:${two(Math.floor((seconds % 3600) / 60))}:${two(seconds % 60)}`;
  return days ? `${t("days", days)} ${clock}` : clock;
}

const DRAW_MS = 3000;
const LINES = 6;
const CHART_HEIGHT = 220;
const STROKES = ["#3366cc", "#cc6633", "#2e8b57", "#8a2be2", "#b8860b", "#c71585"];

// Votes over time: a line for each of the choices with the most votes, and a table. Redrawn at most
// every 3 s, since each curve is a query.
export class Turnout {
  constructor(contest) {
    this.contest = contest;
    this.text = h("p", { class: "soft small" });
    this.holder = h("div", { class: "plot", "aria-hidden": "true" });
    this.table = h("div");
    this.element = h("div", {}, this.holder, this.text, this.table);
    this.names = new Map();
    this.colours = new Map();
    this.drawn = 0;
    this.timer = null;
    this.plot = null;
    this.resized = new ResizeObserver(() => this.plot?.setSize({ width: this.holder.clientWidth, height: CHART_HEIGHT }));
    this.resized.observe(this.holder);
  }

  // result: whose choices name the lines. colourOf: gives the colour that a choice has on the page, if it has one.
  changed({ choices, seats = {} }, colourOf) {
    for (const one of [...choices, ...Object.values(seats).flatMap((seat) => seat.choices)]) {
      this.names.set(one.id, one.name);
      this.colours.set(one.id, colourOf(one));
    }
    this.timer ??= setTimeout(() => {
      this.timer = null;
      this.drawn = Date.now();
      this.draw();
    }, Math.max(0, this.drawn + DRAW_MS - Date.now()));
  }

  async draw() {
    const [line, { default: Plot }] = await Promise.all([
      get(`/results/${encodeURIComponent(this.contest)}/timeline`), import("./uplot.js")]).catch(() => [null, {}]);
    // Without an answer the curve stays as it was.
    if (!line || this.closed) return;
    this.holder.hidden = !line.points.length;
    if (!line.points.length) { this.text.textContent = t("noTurnout"); return; }
    const { ends, keys, sums, total } = cumulated(line);
    const name = (key) => this.names.get(key) || (["oui", "non"].includes(key) ? t(key) : key);
    this.text.textContent = t("turnoutText", total, when(line.points[0].starts, true), when(ends.at(-1), true));
    const start = Date.parse(line.points[0].starts) / 1000;
    const data = [[start, ...ends.map((ms) => ms / 1000)], ...keys.map((key) => [0, ...sums.map((one) => one[key] || 0)])];
    if (this.plot?.keys.join() !== keys.join()) this.begin(Plot, keys, name, data);
    else this.plot.setData(data);
    const rows = ends.map((ms, n) => [when(ms, true), ...keys.map((key) => [fmt(sums[n][key] || 0)])]);
    const open = this.table.querySelector("details[open]") !== null;
    this.table.replaceChildren(h("details", { open }, h("summary", {}, t("asTable")),
      h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": t("turnout") },
        table([t("until"), ...keys.map((key) => [name(key)])], rows))));
  }

  begin(Plot, keys, name, data) {
    const ink = getComputedStyle(this.holder).color;
    const axis = { stroke: ink, grid: { stroke: "rgba(128,128,128,.25)" }, ticks: { stroke: "rgba(128,128,128,.4)" } };
    const seconds = data[0].at(-1) - data[0][0] < 600;
    const style = { hour: "numeric", minute: "numeric", ...(seconds ? { second: "numeric" } : {}) };
    const used = [];
    const line = (key, n) => {
      const stroke = this.colours.get(key) || STROKES[n];
      const times = used.filter((one) => one === stroke).length;
      used.push(stroke);
      // Without a pointer on the chart the legend has the latest votes.
      const value = (plot, votes, at) => fmt(votes ?? plot.data[at].at(-1));
      return { label: name(key), stroke, width: 2, dash: times ? [6, 3 * times] : undefined, value };
    };
    this.plot?.destroy();
    this.plot = new Plot({
      width: this.holder.clientWidth || 600, height: CHART_HEIGHT, cursor: { drag: { x: false, y: false } },
      scales: { y: { range: (_, low, high) => [0, Math.max(1, high * 1.05)] } },
      axes: [{ ...axis, space: 90, values: (_, ticks) => ticks.map((s) => timeOf(s * 1000, style)) },
        { ...axis, size: 64, values: (_, ticks) => ticks.map((tick) => fmt(tick)) }],
      series: [{ label: t("until"), value: (plot, s) => when((s ?? plot.data[0].at(-1)) * 1000, true) }, ...keys.map(line)],
    }, data, this.holder);
    this.plot.keys = keys;
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    this.resized.disconnect();
    this.plot?.destroy();
  }
}

// The end of each step, and the votes of the leading choices up to then.
function cumulated(line) {
  const running = {};
  const ends = [];
  const sums = [];
  for (const point of line.points) {
    for (const [key, votes] of Object.entries(point.votes)) running[key] = (running[key] || 0) + votes;
    ends.push(Date.parse(point.starts) + line.step_s * 1000);
    sums.push({ ...running });
  }
  const keys = Object.keys(running).sort((a, b) => running[b] - running[a]).slice(0, LINES);
  return { ends, keys, sums, total: sum(running) };
}

// The signed place in the log that the figures can be checked against.
export function checkpointCard(place) {
  if (!place) return null;
  return h("section", { class: "card" },
    h("h2", {}, t("signed")),
    h("p", {}, t("signedPlace", place.votes, place.head.slice(0, 16), clock(Date.parse(place.signed_at)), place.witnesses)),
    h("p", { class: "small soft" }, t("signedText"), " ",
      h("a", { href: `/v2/checkpoints/${place.size}` }, t("signedNote")), " · ",
      h("a", { href: "/static/receipt.html" }, t("checkReceipt"))));
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

const STALE_MS = 5000;
// A costly count is kept for up to 30 s; the mark says of when it is.
const OLD_MS = 45000;

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
  let late = false;
  function show() {
    const now = Date.now();
    const known = right !== null;
    const on = known && !lost && !late && now - heard < STALE_MS && now - right < OLD_MS;
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
    // behind: the gateway hears nothing from its database.
    beat(ageS, behind = false) { right = Date.now() - 1000 * ageS; late = behind; hear(); },
    lose() { lost = true; show(); },
    silentMs: () => Date.now() - heard,
    close() { clearInterval(timer); main.classList.remove("old"); },
  };
}
