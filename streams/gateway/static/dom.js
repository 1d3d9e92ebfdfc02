// Builds elements without markup in strings, so that text from voters stays text.

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  apply(element, attributes);
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

function apply(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
}

export function say(text) {
  const status = document.getElementById("status");
  status.textContent = text;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => { status.textContent = ""; }, 6000);
}

// A summary for screen readers, said at most once in a while.
export function live(pauseMs) {
  const element = h("p", { class: "unseen", role: "status" });
  let next = "";
  let timer = null;
  function speak() {
    element.textContent = next;
    timer = setTimeout(() => { timer = null; if (next !== element.textContent) speak(); }, pauseMs);
  }
  return {
    element,
    say(text) { next = text; if (timer === null && text !== element.textContent) speak(); },
    close() { clearTimeout(timer); },
  };
}

export function field(name, label, input, hint) {
  input.id = `field-${name}`;
  const error = h("span", { class: "error", id: `error-${name}` });
  const about = hint ? h("span", { class: "hint", id: `hint-${name}` }, hint) : null;
  input.setAttribute("aria-describedby", (hint ? `hint-${name} ` : "") + `error-${name}`);
  return h("div", { class: "field" }, h("label", { for: input.id }, label), about, input, error);
}

// Shows faults beside their fields; returns whether a field has one.
export function showFaults(form, faults) {
  for (const error of form.querySelectorAll(".error")) error.textContent = "";
  for (const input of form.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
  let first = null;
  for (const [name, texts] of Object.entries(faults || {})) {
    const error = form.querySelector(`#error-${CSS.escape(name)}`);
    const input = form.querySelector(`#field-${CSS.escape(name)}`);
    if (error) error.textContent = texts.join(" ");
    if (input) { input.setAttribute("aria-invalid", "true"); first = first || input; }
  }
  if (first) first.focus();
  return first !== null;
}
