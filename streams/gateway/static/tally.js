// Encrypted elections: live progress of each job, and the published result.

import { h } from "./dom.js";
import { get } from "./api.js";
import { Feed } from "./feed.js";
import { Bars, liveMark, table } from "./parts.js";
import { fmt, t, when } from "./words.js";

const KINDS = { completed: "good", published: "good", failed: "bad", cancelled: "warn" };

const badge = (status) => h("span", { class: `badge ${KINDS[status] || ""}` }, t(`job_${status}`));

export async function talliesPage(main) {
  document.title = `${t("tallies")} · Scrutin`;
  const known = await get("/api/tallies");
  main.replaceChildren(h("h1", {}, t("tallies")), known.length
    ? h("ul", { class: "grid" }, known.map((e) => h("li", { class: "card" }, badge(e.status),
      h("h2", {}, h("a", { href: `/tally/${encodeURIComponent(e.electionId)}` }, String(e.electionId))),
      h("p", { class: "soft small" }, when(e.createdAt)))))
    : h("p", { class: "soft" }, t("noTallies")), h("p", { class: "small soft" }, t("unaudited")));
}

function jobRow(job) {
  const who = job.missingGuardianId ? t("standsIn", job.guardianId, job.missingGuardianId) : job.guardianId;
  const name = [t(`op_${job.operationType}`), who].filter(Boolean).join(" · ");
  const fill = h("div", { class: "fill" });
  fill.style.width = `${job.progressPercent}%`;
  return h("li", {},
    h("div", { class: "label" }, h("span", {}, name, " ", badge(job.status.toLowerCase())),
      h("span", { class: "count" }, `${fmt(job.processedChunks)} / ${fmt(job.totalChunks)}`)),
    h("div", { class: "track", role: "progressbar", "aria-label": name, "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": Math.round(job.progressPercent) }, fill),
    job.errorMessage ? h("p", { class: "verdict bad small" }, job.errorMessage) : null);
}

function resultCards(published) {
  const r = published.results;
  const contests = Object.entries(r.contests).map(([id, lines]) => {
    const bars = new Bars(Object.entries(lines).map(([key, line]) => ({ key, text: line.name })));
    bars.update(Object.fromEntries(Object.entries(lines).map(([key, line]) => [key, line.votes])), { word: t("most") });
    return h("section", { class: "card" }, h("h2", {}, id), bars.element);
  });
  const guardians = table([t("guardian"), t("took")], published.verification.guardians.map((g) => [g.id, t(g.present ? "yes" : "no")]));
  return [
    h("p", { class: "verdict good" }, t("tallied", r.total_valid_ballots, r.total_spoiled_ballots)),
    ...contests,
    h("section", { class: "card" }, h("h2", {}, t("guardians")), guardians, h("p", { class: "small soft" }, t("checkIt"), h("code", {}, "scrutin tally verify"))),
  ];
}

export async function tallyPage(main, id, leave) {
  document.title = `${id} · Scrutin`;
  const path = encodeURIComponent(id);
  const mark = liveMark();
  leave(() => mark.close());
  const jobs = h("ul", { class: "bars" });
  const head = h("p", { class: "small soft" });
  const result = h("div", { class: "stack" });
  let shown = false;
  async function draw(message) {
    jobs.replaceChildren(...message.jobs.map(jobRow));
    if (!message.jobs.length) jobs.append(h("li", { class: "soft" }, t("notTallied"), " ", h("a", { href: `/tally/${path}/ballot` }, t("fillIn"))));
    head.replaceChildren(...message.ballotsHead ? [t("ballotsHead"), h("code", {}, message.ballotsHead)] : []);
    if (message.published && !shown) {
      shown = true;
      // Every message asks again until the result is shown.
      await get(`/api/election/${path}/result`).then((found) => result.replaceChildren(...resultCards(found)), () => { shown = false; });
    }
  }
  await draw(await get(`/api/tallies/${path}`));
  main.replaceChildren(h("div", { class: "row between" }, h("h1", {}, id), mark.element),
    h("section", { class: "card" }, h("h2", {}, t("jobs")), jobs, head), result,
    h("p", { class: "small soft" }, t("unaudited")));
  const progress = new Feed(() => `/ws/tallies/${path}`, (message) => { mark.beat(0); draw(message); }, mark);
  leave(() => progress.close());
}
