// One poll: the ballot, live bars, votes over time, and the proof once it is closed.

import { h, say, showFaults, field } from "./dom.js";
import { call, fate, get, Problem } from "./api.js";
import { Frame, phaseText } from "./contest.js";
import { load } from "./feed.js";
import { Bars } from "./parts.js";
import { fateClass, fateText, receiptCard } from "./receipt.js";
import { keep, kept, t, when } from "./words.js";

const STATES = { announced: "draft", voting: "open", unannounced: "open" };

export async function pollPage(main, id, leave) {
  const name = kept("name") || "";
  const [poll, loaded] = await Promise.all([get(`/polls/${id}/?full_name=${encodeURIComponent(name)}`), load(`poll:${id}`)]);
  document.title = `${poll.title} · Scrutin`;
  const bars = new Bars(poll.options.map((o) => ({ key: o.id, text: o.text, mine: o.voted })));
  const frame = new Frame(`poll:${id}`);
  const state = h("div");
  const about = h("p", { class: "soft small" });
  const form = ballot(poll, name);
  let shown = poll.state === "draft" ? "announced" : "voting";

  function showPhase(result) {
    const { phase } = result;
    const over = !["announced", "voting", "unannounced"].includes(phase);
    about.textContent = [t("by", poll.creator_name), times({ ...poll, state: STATES[phase] || "closed" })].join(" · ");
    if (over) {
      form.replaceChildren();
      const [kind, text] = phaseText(result);
      state.replaceChildren(h("p", { class: `verdict ${kind}` }, text));
    }
    if (phase === "voting" && shown === "announced") form.replaceChildren(...ballot({ ...poll, state: "open" }, name).childNodes);
    shown = phase;
  }

  main.replaceChildren(h("div", { class: "stack" },
    h("section", { class: "card" },
      h("div", { class: "row between" }, h("h1", {}, poll.title), frame.mark.element),
      poll.description ? h("p", {}, poll.description) : null,
      about,
      form, state,
      h("div", { class: "row" }, h("button", { class: "plain", type: "button", onclick: share }, t("share")))),
    h("section", { class: "card" },
      h("div", { class: "row between" }, h("h2", {}, t("results")), frame.total),
      bars.element, frame.summary.element),
    frame.below));

  function show(result) {
    const totals = Object.fromEntries(result.choices.map((one) => [one.id, one.votes]));
    bars.update(totals, { word: t(result.phase === "final" ? "most" : "lead") });
    showPhase(result);
  }

  frame.follow(loaded, show, leave);
}

export function times(poll) {
  if (poll.state === "draft") return poll.opens_at ? t("opens", when(poll.opens_at)) : t("upcoming");
  return poll.state === "open" ? t("ends", when(poll.end_time)) : t("ended", when(poll.end_time));
}

async function share() {
  try { await navigator.clipboard.writeText(location.href); say(t("shared")); } catch { say(location.href); }
}

function ballot(poll, name) {
  if (poll.state === "draft") return h("div", {}, h("p", { class: "verdict" }, t("notOpen")));
  if (poll.has_voted) return h("div", {}, h("p", { class: "verdict good" }, t("counted")));
  if (poll.state !== "open") return h("div");
  const who = {
    name: () => field("voter_name", t("yourName"), h("input", { type: "text", maxlength: 100, autocomplete: "name", value: name, required: true }), t("nameHint")),
    roll: () => field("voter_hash", t("hash"), h("input", { type: "text", maxlength: 128, required: true, autocomplete: "off" }), t("hashHint")),
    key: () => field("api_key", t("apiKey"), h("input", { type: "text", required: true, autocomplete: "off" })),
    cookie: () => null,
  }[poll.who]();
  const button = h("button", { type: "submit" }, t("vote"));
  // In the form, so that it goes with it: a failed try is not shown beside a vote that is counted.
  const trouble = h("p", { class: "error", role: "alert" });
  const missing = h("span", { class: "error", id: "error-option_id" });
  const form = h("form", { novalidate: true },
    h("fieldset", { "aria-describedby": "error-option_id" }, h("legend", {}, t("choose")), missing,
      poll.options.map((option) => h("label", { class: "choice" },
        h("input", { type: "radio", name: "option", value: option.id }), h("span", {}, option.text)))),
    who, trouble, button);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const chosen = form.querySelector("input[name=option]:checked");
    if (!chosen) { missing.textContent = t("required"); form.querySelector("input[name=option]").focus(); return; }
    const value = (id) => form.querySelector(`#field-${id}`)?.value;
    const body = { poll_id: poll.id, option_id: Number(chosen.value) };
    if (value("voter_name")) { body.voter_name = value("voter_name"); keep("name", body.voter_name); }
    if (value("voter_hash")) body.voter_hash = value("voter_hash").trim();
    const headers = value("api_key") ? { "X-API-Key": value("api_key").trim() } : {};
    button.disabled = true;
    button.textContent = t("voting");
    missing.textContent = trouble.textContent = "";
    let receipt;
    try {
      ({ receipt } = await call("POST", "/votes/", body, headers));
    } catch (error) {
      button.disabled = false;
      button.textContent = t("vote");
      const beside = error instanceof Problem && showFaults(form, error.faults);
      trouble.textContent = beside ? t("errorTitle") : `${t("errorTitle")} ${error.message}`;
      return;
    }
    say("");
    const outcome = h("p", { class: "verdict", role: "status" }, t("pending"));
    form.replaceWith(outcome, receiptCard(receipt));
    const found = await fate(receipt);
    outcome.textContent = fateText(found);
    outcome.className = fateClass(found);
  });
  return h("div", {}, form);
}
