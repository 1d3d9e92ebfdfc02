// The overview: the figures of `scrutin top`, as charts that grow while the page is open.

import uPlot from "./uplot.js";

const EVERY_MS = 2000;
const KEPT = 300;
const COLOURS = ["#3366cc", "#cc6633", "#2e8b57", "#8a2be2", "#b8860b", "#c71585"];
const by = (id) => document.getElementById(id);
const times = [];

class Chart {
  constructor(id, names) {
    this.values = names.map(() => []);
    const style = getComputedStyle(document.body);
    const axis = { stroke: style.color, grid: { stroke: "#8884" } };
    const series = names.map((label, n) => ({ label, stroke: COLOURS[n % COLOURS.length], width: 2 }));
    const size = { width: by(id).clientWidth || 600, height: 220 };
    this.plot = new uPlot({ ...size, series: [{}, ...series], axes: [axis, axis] }, [[], ...this.values], by(id));
    addEventListener("resize", () => this.plot.setSize({ width: by(id).clientWidth, height: 220 }));
  }

  add(values) {
    this.values.forEach((line, n) => { line.push(values[n]); if (line.length > KEPT) line.shift(); });
    // Of one reading, the axis of time would show years.
    if (times.length > 1) this.plot.setData([times, ...this.values]);
  }
}

function table(element, heads, rows) {
  const row = (cells, name) => {
    const line = document.createElement("tr");
    for (const text of cells) line.append(Object.assign(document.createElement(name), { textContent: text ?? "?" }));
    return line;
  };
  const body = document.createElement("table");
  body.append(row(heads, "th"), ...rows.map((cells) => row(cells, "td")));
  element.replaceChildren(body);
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
    rates: new Chart("rates", rates.map((name) => name.replaceAll("_", " "))),
    latency: new Chart("latency", latencies.flatMap((name) => [`${name.replaceAll("_", " ")} p50`, "p99"])),
    windows: new uPlot({ width: by("windows").clientWidth || 600, height: 220, series: [{}, { label: "votes", stroke: COLOURS[0], fill: "#3366cc55" }],
      axes: [{ stroke: getComputedStyle(document.body).color }, { stroke: getComputedStyle(document.body).color }] }, [[], []], by("windows")),
  };
  times.push(Date.now() / 1000);
  if (times.length > KEPT) times.shift();
  charts.rates.add(rates.map((name) => top.votes_per_second[name]));
  const ms = (seconds) => (seconds == null ? null : seconds * 1000);
  charts.latency.add(latencies.flatMap((name) => [ms(top.latency_seconds[name]?.p50), ms(top.latency_seconds[name]?.p99)]));
  const windows = [...(top.windows ?? [])].reverse();
  charts.windows.setData([windows.map((w) => Date.parse(w.start) / 1000), windows.map((w) => w.votes)]);
  table(by("waiting"), ["Where", "Messages or records"], Object.entries(top.waiting));
  table(by("processes"), ["Process", "Kind", "Ready", "Faults"],
    top.processes.map((one) => [one.address, one.kind, one.ready ? "yes" : "no", one.faults.join("; ")]));
  const errors = Object.values(top.errors);
  by("state").className = errors.length ? "live old" : "live on";
  by("state").textContent = errors.length ? errors.join(" ") : `Updated ${new Date().toLocaleTimeString()}`;
}

async function forever() {
  try {
    await refresh();
  } catch (error) {
    by("state").className = "live old";
    by("state").textContent = `The console does not answer (${error.message}).`;
  }
  setTimeout(forever, EVERY_MS);
}

forever();
