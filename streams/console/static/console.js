// The overview: the figures of `scrutin top`, as charts that grow while the page is open.

import uPlot from "./uplot.js";

const EVERY_MS = 2000;
const KEPT = 300;
const COLOURS = ["#3366cc", "#cc6633", "#2e8b57", "#8a2be2", "#b8860b", "#c71585"];
const HEIGHT = 220;
const MINUTE_S = 60;
const by = (id) => document.getElementById(id);
const words = JSON.parse(by("state").dataset.words);
const language = document.documentElement.lang;
const clock = new Intl.DateTimeFormat(language, { timeStyle: "medium", hourCycle: "h23" });
const numbers = new Intl.NumberFormat(language, { maximumFractionDigits: 2 });
const percent = new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 1 });
const times = [];

// A text in the page's language, with a value in its hole.
const t = (text, given = "") => (words.said[text] ?? text).replace(/\{\w+\}/, () => given);

// Of one reading, uPlot would show a day.
function range(made, from, to) {
  const [times] = made.data;
  const only = times[0] ?? Date.now() / 1000;
  return times.length < 2 ? [only - MINUTE_S, only] : [from, to];
}

function plot(id, series) {
  const axis = { stroke: getComputedStyle(document.body).color, grid: { stroke: "#8884" } };
  const value = (_, n) => (n == null ? "–" : numbers.format(n));
  const shown = series.map((one, n) => ({ stroke: COLOURS[n % COLOURS.length], width: 2, value, points: { size: 6 }, ...one }));
  const made = new uPlot({
    width: by(id).clientWidth || 600, height: HEIGHT,
    series: [{ label: t("Time"), value: (_, s) => (s == null ? "–" : clock.format(s * 1000)) }, ...shown],
    scales: { x: { range } },
    axes: [
      { ...axis, space: 90, values: (_, ticks) => ticks.map((s) => clock.format(s * 1000)) },
      { ...axis, size: 60, values: (_, ticks) => ticks.map((n) => numbers.format(n)) },
    ],
  }, [[], ...series.map(() => [])], by(id));
  addEventListener("resize", () => made.setSize({ width: by(id).clientWidth, height: HEIGHT }));
  return made;
}

class Lines {
  constructor(id, names) {
    this.values = names.map(() => []);
    this.plot = plot(id, names.map((label) => ({ label })));
  }

  add(values) {
    this.values.forEach((line, n) => { line.push(values[n]); if (line.length > KEPT) line.shift(); });
    this.plot.setData([times, ...this.values]);
  }
}

function node(name, role, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries({ role, ...attributes })) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// As the server makes tables: with roles, because on a phone each row is a block.
function table(element, heads, rows) {
  const names = heads.map((head) => t(head));
  const row = (cells) => node("tr", "row", {}, ...cells);
  element.replaceChildren(node("table", "table", {},
    node("thead", "rowgroup", {}, row(names.map((name) => node("th", "columnheader", { scope: "col" }, name)))),
    node("tbody", "rowgroup", {}, ...rows.map((cells) => row(cells.map((text, n) => node("td", "cell", { "data-label": names[n] }, text ?? "?")))))));
}

let charts;

async function refresh() {
  const answer = await fetch("/top.json", { headers: { Accept: "application/json" } });
  if (answer.status === 401) { location.assign("/login"); return; }
  if (!answer.ok) throw new Error(String(answer.status));
  const top = await answer.json();
  const rates = Object.keys(top.votes_per_second);
  const latencies = Object.keys(top.latency_seconds);
  charts ??= {
    rates: new Lines("rates", rates.map((name) => words.rates[name])),
    latency: new Lines("latency", latencies.flatMap((name) => ["{name}, median", "{name}, 99 %"].map((text) => t(text, words.latencies[name])))),
    windows: plot("windows", [{ label: t("votes"), fill: "#3366cc55" }]),
  };
  times.push(Date.now() / 1000);
  if (times.length > KEPT) times.shift();
  charts.rates.add(rates.map((name) => top.votes_per_second[name]));
  const ms = (seconds) => (seconds == null ? null : seconds * 1000);
  charts.latency.add(latencies.flatMap((name) => [ms(top.latency_seconds[name]?.p50), ms(top.latency_seconds[name]?.p99)]));
  const windows = [...(top.windows ?? [])].reverse();
  charts.windows.setData([windows.map((w) => Date.parse(w.start) / 1000), windows.map((w) => w.votes)]);
  table(by("results"), ["Contest", "Phase", "Votes", "Ahead", "Counted up to"], (top.results ?? []).map((one) => [
    one.title ?? one.id, t(one.phase.replaceAll("_", " ")), numbers.format(one.total_votes),
    one.ahead.map((each) => `${each.name} ${percent.format(each.share ?? 0)}`).join(", ") || "–",
    one.updated_at ? clock.format(Date.parse(one.updated_at)) : "–"]));
  const place = (name) => (name.startsWith("queue ") ? t("queue {name}", name.slice(6)) : t(name));
  table(by("waiting"), ["Where", "Messages or records"],
    Object.entries(top.waiting).map(([name, count]) => [place(name), count === null ? null : numbers.format(count)]));
  const fault = (text) => (text.startsWith("no answer: ") ? t("no answer: {why}", text.slice(11)) : text);
  table(by("processes"), ["Process", "Kind", "Ready", "Faults"],
    top.processes.map((one) => [one.address, t(one.kind), t(one.ready ? "yes" : "no"), one.faults.map(fault).join("; ")]));
  say(Object.values(top.errors).join(" "), t("Updated at {time}", clock.format(Date.now())));
}

function say(fault, text) {
  by("state").className = fault ? "live old" : "live on";
  by("state").textContent = fault || text;
}

async function forever() {
  try {
    await refresh();
  } catch (error) {
    say(t("The console does not answer: {why}", error.message));
  }
  setTimeout(forever, EVERY_MS);
}

forever();
