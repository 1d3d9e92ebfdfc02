// A ballot of an encrypted election, encrypted on the voter's device, then cast or challenged.

import { Problem, call, fate, get } from "./api.js";
import { field, h, say, showFaults } from "./dom.js";
import { t } from "./words.js";

const CAST = 1;
const SPOILED = 2;

export async function ballotPage(main, id, leave) {
  document.title = `${t("ballot")} · ${id} · Scrutin`;
  const definition = await get(`/api/tallies/${encodeURIComponent(id)}/definition`);
  const steps = h("div", { class: "stack" });
  main.replaceChildren(h("h1", {}, t("ballot"), " · ", id), steps, h("p", { class: "small soft" }, t("unaudited")));
  if (!crypto.subtle) { steps.append(h("p", { class: "verdict bad" }, t("needsHttps"))); return; }
  choose(steps, definition, leave);
}

function choose(steps, definition, leave) {
  const { styles } = definition;
  const style = h("select", {}, styles.map((each) => h("option", { value: each.id }, each.id)));
  const contests = h("div", { class: "stack" });
  const trouble = h("p", { class: "error", role: "alert" });
  const button = h("button", { type: "submit" }, t("encrypt"));
  const draw = () => contests.replaceChildren(...styles.find((each) => each.id === style.value).contests.map(boxes));
  style.addEventListener("change", draw);
  draw();
  const form = h("form", { class: "card" }, styles.length > 1 ? field("style", t("ballotStyle"), style) : null, contests, trouble, button);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const chosen = [...contests.querySelectorAll("input:checked")].filter((box) => box.value);
    const choices = {};
    for (const box of chosen) (choices[box.name] ||= []).push(box.value);
    const names = chosen.map((box) => box.dataset.text);
    button.disabled = true;
    button.textContent = t("encrypting");
    trouble.textContent = "";
    try {
      const made = await inWorker([definition, style.value, choices], leave);
      steps.replaceChildren(...committed(steps, definition, made, names, leave));
    } catch (error) {
      trouble.textContent = error.message;
      button.disabled = false;
      button.textContent = t("encrypt");
    }
  });
  steps.replaceChildren(form);
}

function boxes(contest) {
  const lines = contest.lines.filter((line) => !line.placeholder);
  const single = contest.limit === 1;
  const set = h("fieldset", {}, h("legend", {}, contest.name, single ? "" : ` (${t("atMost", contest.limit)})`),
    lines.map((line) => h("label", { class: "choice" },
      h("input", { type: single ? "radio" : "checkbox", name: contest.id, value: line.id, "data-text": line.name }), h("span", {}, line.name))),
    single ? h("label", { class: "choice" }, h("input", { type: "radio", name: contest.id, value: "", checked: true }), h("span", {}, t("nobody"))) : null);
  if (!single) {
    set.addEventListener("change", () => {
      const full = set.querySelectorAll("input:checked").length >= contest.limit;
      for (const box of set.querySelectorAll("input")) box.disabled = full && !box.checked;
    });
  }
  return set;
}

function inWorker(work, leave) {
  const worker = new Worker("/static/encrypt.js", { type: "module" });
  leave(() => worker.terminate());
  return new Promise((done, failed) => {
    worker.onmessage = ({ data }) => (data.done ? done(data.done) : failed(new Error(data.error)));
    worker.onerror = (event) => failed(new Error(event.message));
    worker.postMessage(work);
  }).finally(() => worker.terminate());
}

// The tracking code is shown before the voter casts or challenges the ballot.
function committed(steps, definition, made, names, leave) {
  const code = h("code", { class: "tracking" }, made.ballot.code.match(/.{1,8}/g).join(" "));
  const again = () => choose(steps, definition, leave);
  return [
    h("section", { class: "card" }, h("h2", {}, t("tracking")), h("p", {}, code), h("p", {}, t("trackingText")),
      h("button", { class: "plain", type: "button", onclick: () => window.print() }, t("print"))),
    h("div", { class: "stack", id: "fork" },
      h("section", { class: "card" }, h("h2", {}, t("cast")), h("p", {}, t("castText")), castForm(definition, made)),
      h("section", { class: "card" }, h("h2", {}, t("challenge")), h("p", {}, t("challengeText")),
        h("button", { class: "plain", type: "button", onclick: () => document.getElementById("fork").replaceWith(challenged(definition, made, names, again)) }, t("challengeIt")))),
  ];
}

function castForm(definition, made) {
  const button = h("button", { type: "submit" }, t("castIt"));
  const trouble = h("p", { class: "error", role: "alert" });
  const input = () => h("input", { type: "text", maxlength: 64, required: true, autocomplete: "off" });
  const form = h("form", { novalidate: true }, field("nas", t("nas"), input()), field("code", t("voterCode"), input()), trouble, button);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const value = (name) => form.querySelector(`#field-${name}`).value;
    button.disabled = true;
    trouble.textContent = "";
    const ballot = JSON.stringify({ ...made.ballot, state: CAST });
    let receipt;
    try {
      ({ receipt } = await call("POST", "/api/v1/elections/vote", { nas: value("nas"), code: value("code"),
        election_id: definition.electionId, candidate_id: "encrypted", encrypted_ballot: ballot }));
    } catch (error) {
      button.disabled = false;
      const beside = error instanceof Problem && showFaults(form, error.faults);
      trouble.textContent = beside ? t("errorTitle") : `${t("errorTitle")} ${error.status === 413 ? t("tooLong") : error.message}`;
      return;
    }
    say("");
    const outcome = h("p", { class: "verdict", role: "status" }, t("pending"));
    // Opened nonces would show the vote; a cast ballot is never challenged.
    made.openings = null;
    document.getElementById("fork").replaceWith(h("section", { class: "card" }, h("h2", {}, t("cast")), outcome, h("p", { class: "small soft" }, t("lookFor"))));
    const found = await fate(receipt);
    outcome.textContent = found.status === "invalid" ? `${t("invalid")} ${found.reason}` : t(found.status);
    outcome.className = `verdict ${found.status === "counted" ? "good" : found.status === "late" ? "warn" : "bad"}`;
  });
  return form;
}

function challenged(definition, made, names, again) {
  const file = { ballot: { ...made.ballot, state: SPOILED }, openings: made.openings };
  const address = URL.createObjectURL(new Blob([JSON.stringify(file)], { type: "application/json" }));
  const name = `challenge-${made.ballot.code.slice(0, 8)}.json`;
  return h("section", { class: "card" }, h("h2", {}, t("challenged")),
    h("p", { class: "verdict warn", role: "status" }, t("spent")),
    h("p", {}, t("opened"), names.length ? names.join(", ") : t("nobody")),
    h("p", {}, h("a", { href: address, download: name }, t("download"))),
    h("p", {}, t("checkOpened")), h("p", {}, h("code", {}, `scrutin tally challenge ${name} definition.json --code ${made.ballot.code}`)),
    h("button", { type: "button", onclick: again }, t("another")));
}
