// The list of polls, and the form for a new one.

import { h, say, field, showFaults } from "./dom.js";
import { call, get, Problem } from "./api.js";
import { Bars, leaders, sum } from "./parts.js";
import { times } from "./poll.js";
import { keep, kept, t } from "./words.js";

const FILTERS = ["all", "active", "upcoming", "closed"];

export async function listPage(main, _, leave, go) {
  document.title = `${t("polls")} · Scrutin`;
  const given = new URLSearchParams(location.search);
  const status = FILTERS.includes(given.get("status")) ? given.get("status") : "all";
  const search = given.get("search") || "";
  const input = h("input", { type: "search", name: "search", value: search, maxlength: 50, "aria-label": t("search"), placeholder: t("search") });
  const list = h("ul", { class: "grid" });
  const more = h("button", { class: "plain", type: "button", hidden: true }, t("more"));
  const form = h("form", { role: "search", class: "row" }, input, h("button", { class: "plain" }, t("find")));
  const to = (next) => go(`/p?${new URLSearchParams({ status, search, ...next })}`);
  form.addEventListener("submit", (event) => { event.preventDefault(); to({ search: input.value }); });
  main.replaceChildren(
    h("div", { class: "row between" }, h("h1", {}, t("polls")), h("a", { class: "button", href: "/new" }, t("newPoll"))),
    h("div", { class: "row between" },
      h("nav", { "aria-label": t("show") }, FILTERS.map((f) => h("a", { href: `/p?${new URLSearchParams({ status: f, search })}`, "aria-current": f === status ? "true" : null }, t(f)))), form),
    list, more);
  let page = 1;
  async function load() {
    const query = new URLSearchParams({ page, page_size: 12, status, full_name: kept("name") || "" });
    if (search) query.set("search", search);
    const found = await get(`/polls/?${query}`);
    if (!found.count) list.replaceChildren(h("li", { class: "soft" }, search || status !== "all" ? t("noneFound") : t("none")));
    list.append(...found.results.map(card));
    more.hidden = !found.next;
  }
  more.addEventListener("click", () => { page += 1; load(); });
  await load();
}

function card(poll) {
  const bars = new Bars(poll.options.slice(0, 4).map((o) => ({ key: o.id, text: o.text, mine: o.voted })));
  // The shares and the lead are among all options, though not all are shown.
  const totals = Object.fromEntries(poll.options.map((o) => [o.id, o.vote_count]));
  bars.update(Object.fromEntries(poll.options.slice(0, 4).map((o) => [o.id, o.vote_count])), {
    total: sum(totals), lead: leaders(totals), word: t(poll.state === "closed" ? "most" : "lead"),
  });
  const badge = { open: ["good", "active"], closed: ["bad", "closed"], draft: ["warn", "upcoming"] }[poll.state];
  return h("li", { class: "card" },
    h("div", { class: "row between" }, h("span", { class: `badge ${badge[0]}` }, t(badge[1])), poll.has_voted ? h("span", { class: "badge good" }, t("voted")) : null),
    h("h2", {}, h("a", { href: `/p/${poll.id}` }, poll.title)),
    h("p", { class: "soft small" }, [t("by", poll.creator_name), times(poll), t("votes", poll.total_votes)].join(" · ")),
    bars.element);
}

export function createPage(main, _, leave, go) {
  document.title = `${t("create")} · Scrutin`;
  const local = (ms) => new Date(ms - new Date().getTimezoneOffset() * 60000).toISOString().slice(0, 16);
  const options = h("div", { id: "field-options", role: "group", "aria-labelledby": "options-label", tabindex: "-1" });
  const add = h("button", { class: "plain", type: "button" }, t("addOption"));
  function addOption() {
    const number = options.childElementCount + 1;
    options.append(h("input", { type: "text", maxlength: 255, "aria-label": t("option", number), placeholder: t("option", number) }));
    add.disabled = number >= 10;
  }
  add.addEventListener("click", () => { addOption(); options.lastElementChild.focus(); });
  addOption(); addOption();
  const who = h("select", {}, [["name", "whoName"], ["cookie", "whoCookie"], ["key", "whoKey"], ["roll", "whoRoll"]].map(([value, word]) => h("option", { value }, t(word))));
  const button = h("button", { type: "submit" }, t("createDo"));
  const form = h("form", { class: "card", novalidate: true },
    field("title", t("title"), h("input", { type: "text", maxlength: 50, required: true })),
    field("description", t("description"), h("textarea", { rows: 3, maxlength: 500 })),
    h("div", { class: "field" }, h("span", { id: "options-label" }, h("strong", {}, t("options"))), options, h("span", { class: "error", id: "error-options" }), h("p", {}, add)),
    field("creator_name", t("creator"), h("input", { type: "text", maxlength: 100, autocomplete: "name", value: kept("name") || "" })),
    field("who", t("who"), who),
    field("end_time", t("end"), h("input", { type: "datetime-local", value: local(Date.now() + 86400000) })),
    button);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const value = (name) => form.querySelector(`#field-${name}`).value;
    const end = new Date(value("end_time"));
    const texts = [...options.querySelectorAll("input")].map((i) => i.value.trim()).filter(Boolean);
    button.disabled = true;
    try {
      const poll = await call("POST", "/polls/", {
        title: value("title"), description: value("description"), creator_name: value("creator_name"),
        who: who.value, end_time: Number.isNaN(end.valueOf()) ? "" : end.toISOString(),
        options: texts.map((text) => ({ text })),
      });
      keep("name", value("creator_name"));
      keep(`edit-${poll.id}`, poll.edit_token);
      say(t("created"));
      go(`/p/${poll.id}`);
    } catch (error) {
      button.disabled = false;
      if (error instanceof Problem) showFaults(form, error.faults);
      say(`${t("errorTitle")} ${error.message}`);
    }
  });
  main.replaceChildren(h("h1", {}, t("create")), form);
}
