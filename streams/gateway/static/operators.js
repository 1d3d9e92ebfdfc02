// The operators' page: rates, latencies, lag, queues, reasons, workers.

import { h } from "./dom.js";
import { get } from "./api.js";
import { liveMark, table } from "./parts.js";
import { fmt, t, when } from "./words.js";

export async function operatorsPage(main, _, leave) {
  document.title = `${t("operators")} · Scrutin`;
  const body = h("div", { class: "stack" });
  const mark = liveMark();
  leave(() => mark.close());
  main.replaceChildren(h("div", { class: "row between" }, h("h1", {}, t("operators")), mark.element), body);
  async function refresh() {
    const o = await get("/api/operators");
    mark.beat(0);
    const figure = (name, value, note) => h("li", { class: "card" }, h("h2", {}, name), h("p", { class: "big" }, value), h("p", { class: "soft small" }, note));
    const ms = (s) => (s === null ? "–" : `${fmt(s * 1000)} ms`);
    const waiting = o.partitions.reduce((sum, p) => sum + (p.behind || 0), 0);
    const scrolling = (name, inner) => h("section", { class: "card" }, h("h2", {}, name), h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": name }, inner));
    body.replaceChildren(
      h("ul", { class: "grid" },
        figure(t("rate"), fmt(o.votes_per_s, 1), t("perMinute")),
        figure(t("latency"), ms(o.latency_p50_s), `${t("median")} · ${t("p99")} ${ms(o.latency_p99_s)}`),
        figure(t("lag"), fmt(waiting), t("partitions"))),
      scrolling(t("partitions"), table([t("partition"), [t("end2")], [t("applied")], [t("behind")]],
        o.partitions.map((p) => [p.partition, [fmt(p.end)], [fmt(p.applied)], [fmt(p.behind)]]))),
      scrolling(t("queue"), table([t("queue"), [t("ready")]], Object.entries(o.queues).map(([name, ready]) => [name, [ready === null ? "–" : fmt(ready)]]))),
      scrolling(t("reasons"), table([t("status"), t("reason"), [t("count")]], o.reasons.map((r) => [r.status, r.reason, [fmt(r.count)]]))),
      scrolling(t("workers"), table([t("worker"), t("since")], o.workers.map((w) => [w.name, when(w.since, true)]))));
    if (o.errors.length) body.prepend(h("p", { class: "verdict bad" }, o.errors.join(" ")));
  }
  await refresh();
  const timer = setInterval(() => refresh().catch(() => {}), 2000);
  leave(() => clearInterval(timer));
}
