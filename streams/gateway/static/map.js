// The map of an election's regions. It draws what the list says, with the same words and colours.

import { h } from "./dom.js";
import { get } from "./api.js";
import { fmt, t } from "./words.js";

const WAYS = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
const ASIDE = 2;
const TIED = "tied";

function s(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export const loadMap = async (contest, open) => new RegionMap(await get(`/v2/contests/${encodeURIComponent(contest)}/map`), open);

export class RegionMap {
  // open: shows a region in the list.
  constructor({ width, height, regions }, open) {
    this.open = open;
    this.shapes = new Map(Object.entries(regions).map(([id, d]) => [id, { id, path: s("path", { d, class: "none", "fill-rule": "evenodd" }) }]));
    this.ring = s("path", { class: "ring", "fill-rule": "evenodd", "aria-hidden": "true" });
    const hatch = s("pattern", { id: "tied", width: 24, height: 24, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
      s("rect", { width: 24, height: 24, class: "hatch0" }), s("rect", { width: 9, height: 24, class: "hatch1" }));
    this.picture = s("svg", { viewBox: `-8 -8 ${width + 16} ${height + 16}`, role: "group", "aria-label": t("map") },
      s("defs", {}, hatch), s("g", {}, ...[...this.shapes.values()].map((one) => one.path)), this.ring);
    this.told = h("span");
    this.button = h("button", { class: "plain", type: "button", hidden: true, onclick: () => this.open(this.now.id) }, t("inList"));
    this.legend = h("ul", { class: "legend small" });
    this.lacks = h("p", { class: "soft small" });
    this.element = h("section", { class: "card map" }, h("h2", {}, t("map")), h("p", { class: "soft small noprint" }, t("mapHint")),
      this.picture, h("p", { class: "row small noprint" }, this.told, this.button), this.legend, this.lacks);
    this.byPath = new Map([...this.shapes.values()].map((one) => [one.path, one]));
    this.current = null;
    const at = (act) => (event) => { const one = this.byPath.get(event.target); if (one?.label) act(one, event); };
    this.picture.addEventListener("pointerover", at((one) => this.show(one)));
    this.picture.addEventListener("focusin", at((one) => this.show(one)));
    this.picture.addEventListener("focusout", () => this.ring.removeAttribute("d"));
    this.picture.addEventListener("click", at((one) => { this.reach(one, { preventScroll: true }); this.show(one); }));
    this.picture.addEventListener("keydown", at((one, event) => this.key(one, event)));
  }

  // regions: id -> what the list says of it: {name, text, votes, colour, key}. key: who is ahead, `tied` or nothing.
  update(regions) {
    const counts = new Map();
    let lacking = 0;
    for (const [id, said] of regions) {
      const kind = said.key || "";
      if (!counts.has(kind)) counts.set(kind, { n: 0, said });
      counts.get(kind).n += 1;
      const one = this.shapes.get(String(id));
      if (!one) { lacking += 1; continue; }
      const label = [said.name, said.text, said.votes].filter(Boolean).join(", ");
      if (one.label === label && one.colour === said.colour && one.kind === kind) continue;
      // Of a region that the list does not have nothing is known.
      if (!one.label) { one.path.setAttribute("role", "button"); one.path.setAttribute("tabindex", this.current ? -1 : 0); }
      this.current ??= one;
      Object.assign(one, { label, colour: said.colour, kind });
      one.path.setAttribute("aria-label", label);
      one.path.setAttribute("class", look(kind));
      one.path.setAttribute("fill", fill(kind, said));
      if (one === this.now) this.told.textContent = label;
    }
    this.lacks.textContent = lacking ? t("mapLacks", lacking) : "";
    const rank = ([kind, { n }]) => (kind === TIED ? -1 : kind ? n : -2);
    this.legend.replaceChildren(...[...counts].sort((a, b) => rank(b) - rank(a)).map(([kind, { n, said }]) => {
      const mark = s("svg", { viewBox: "0 0 24 24", width: 14, height: 14, "aria-hidden": "true" },
        s("rect", { width: 24, height: 24, class: look(kind), fill: fill(kind, said) }));
      return h("li", {}, mark, " ", `${kind === TIED ? t("tie") : kind ? said.leader : t("nobodyAhead")}: ${fmt(n)}`);
    }));
  }

  show(one) {
    this.now = one;
    this.told.textContent = one.label || "";
    this.button.hidden = false;
    if (document.activeElement === one.path) this.ring.setAttribute("d", one.path.getAttribute("d"));
  }

  // Tab comes to one region; the others are reached by arrow keys.
  reach(one, how = {}) {
    this.current.path.setAttribute("tabindex", -1);
    this.current = one;
    one.path.setAttribute("tabindex", 0);
    one.path.focus(how);
  }

  key(one, event) {
    const way = WAYS[event.key];
    if (event.key === "Enter" || event.key === " ") this.open(one.id);
    else if (way) this.reach(this.beside(one, way) || one);
    else return;
    event.preventDefault();
  }

  // The nearest region that way, rather ahead than aside.
  beside(from, [right, down]) {
    const [x, y] = middle(from);
    let best = null;
    let least = Infinity;
    for (const one of [...this.shapes.values()].filter((each) => each.label)) {
      const [dx, dy] = [middle(one)[0] - x, middle(one)[1] - y];
      const ahead = dx * right + dy * down;
      const far = ahead + ASIDE * Math.abs(dx * down + dy * right);
      if (ahead > 0 && far < least) { best = one; least = far; }
    }
    return best;
  }
}

const look = (kind) => (kind === TIED ? TIED : kind ? "ahead" : "none");
const fill = (kind, { colour }) => (kind === TIED ? "url(#tied)" : colour || "currentColor");

function middle(one) {
  if (!one.middle) {
    const box = one.path.getBBox();
    one.middle = [box.x + box.width / 2, box.y + box.height / 2];
  }
  return one.middle;
}
