// The API as /openapi.json describes it: operations, parameters, examples, and a way to try them.

import { field, h } from "./dom.js";

const LONGEST = 20_000;

function shown(value) {
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}

function block(title, text) {
  return h("div", {}, h("h4", {}, title), h("pre", { class: "scroll small", tabindex: "0" }, text));
}

// The first example of a body or an answer.
function exampleOf(content) {
  const [media] = Object.keys(content || {});
  return media === undefined ? null : { media, value: content[media].example };
}

function asked(path, inputs) {
  const query = new URLSearchParams();
  for (const { name, place, input } of inputs) {
    if (place === "path") path = path.replace(`{${name}}`, encodeURIComponent(input.value));
    else if (place === "query" && input.value) query.append(name, input.value);
  }
  return query.size ? `${path}?${query}` : path;
}

function tried(path, inputs, id) {
  const output = h("div", { role: "status" });
  async function send(event) {
    event.preventDefault();
    const url = asked(path, inputs);
    try {
      const answer = await fetch(url, { headers: { Accept: "application/json" } });
      const text = await answer.text();
      let body = text;
      try { body = shown(JSON.parse(text)); } catch { /* Not JSON. */ }
      output.replaceChildren(block(`${answer.status} ${url}`, body.slice(0, LONGEST)));
    } catch {
      output.replaceChildren(h("p", { class: "error" }, "The gateway does not answer."));
    }
  }
  const fields = inputs.map(({ name, place, input, about }) => field(`${id}-${name}`, `${name} (${place})`, input, about));
  const button = h("button", { type: "submit" }, "Try it");
  return h("form", { onsubmit: send }, ...fields, button, output);
}

function operation(method, path, found, id) {
  const inputs = (found.parameters || []).filter((one) => one.in !== "header").map((one) => ({
    name: one.name,
    place: one.in,
    about: one.description,
    input: h("input", { type: "text", value: one.required ? String(one.example ?? "") : "", placeholder: String(one.example ?? ""), required: one.required }),
  }));
  const ok = Object.entries(found.responses).find(([code]) => code.startsWith("2"));
  const answer = ok && exampleOf(ok[1].content);
  const body = found.requestBody && exampleOf(found.requestBody.content);
  // An answer that does not end is not for this page.
  const ends = method === "get" && answer?.media !== "text/event-stream";
  return h("details", { class: "card" },
    h("summary", {}, h("span", { class: "badge" }, method.toUpperCase()), " ", h("code", {}, path), " ", found.summary),
    found.description ? h("p", {}, found.description) : null,
    ends ? tried(path, inputs, id) : h("ul", {}, ...inputs.map((one) => h("li", {}, h("code", {}, one.name), ` (${one.place}), e.g. ${one.input.placeholder}`))),
    body ? block("Body", shown(body.value)) : null,
    answer ? block(`Answer ${ok[0]}: ${answer.media}`, shown(answer.value)) : h("p", {}, "The answer has no body."));
}

async function start() {
  const main = document.getElementById("main");
  const answer = await fetch("/openapi.json");
  if (!answer.ok) throw new Error(String(answer.status));
  const description = await answer.json();
  const groups = new Map(description.tags.map(({ name }) => [name, []]));
  const about = new Map(description.tags.map((tag) => [tag.name, tag.description]));
  let number = 0;
  for (const [path, methods] of Object.entries(description.paths)) {
    for (const [method, found] of Object.entries(methods)) {
      groups.get(found.tags[0]).push({ text: `${path} ${found.summary}`.toLowerCase(), element: operation(method, path, found, number += 1) });
    }
  }
  const sections = [...groups].map(([name, all]) => ({ all, element: h("section", { class: "stack" }, h("h2", {}, name), h("p", { class: "soft" }, about.get(name)), ...all.map((one) => one.element)) }));
  const search = h("input", { type: "search", oninput: () => {
    for (const { all, element } of sections) {
      for (const one of all) one.element.hidden = !one.text.includes(search.value.toLowerCase());
      element.hidden = all.every((one) => one.element.hidden);
    }
  } });
  main.append(
    h("p", {}, description.info.description, " ", h("a", { href: "/openapi.json" }, "OpenAPI"), ", ", h("a", { href: "/asyncapi.json" }, "AsyncAPI of queues and topics"), "."),
    field("search", "Search", search), ...sections.map((one) => one.element));
}

start().catch(() => document.getElementById("main").append(h("p", { class: "error", role: "alert" }, "The description cannot be loaded.")));
