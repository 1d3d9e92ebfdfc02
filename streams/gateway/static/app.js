// The frame around the pages: routing, language, colours.

import { h, say } from "./dom.js";
import { keep, kept, languageAfter, setLanguage, startLanguage, t } from "./words.js";

const main = document.getElementById("main");
let leaving = [];

// A page is loaded when it is opened: most readers open one.
const page = (file, name) => async (...given) => (await import(`./${file}.js`))[name](...given);

const PAGES = [
  [/^\/$/, "home", page("lists", "homePage")],
  [/^\/p$/, "polls", page("polls", "listPage")],
  [/^\/new$/, "polls", page("polls", "createPage")],
  [/^\/p\/(\d+)$/, "polls", page("poll", "pollPage")],
  [/^\/laws$/, "laws", page("lists", "lawsPage")],
  [/^\/law\/(.+)$/, "laws", page("contest", "lawPage")],
  [/^\/elections$/, "elections", page("lists", "electionsPage")],
  [/^\/election\/(.+)$/, "elections", page("contest", "electionPage")],
  [/^\/tallies$/, "tallies", page("tally", "talliesPage")],
  [/^\/tally\/([^/]+)\/ballot$/, "tallies", page("ballot", "ballotPage")],
  [/^\/tally\/(.+)$/, "tallies", page("tally", "tallyPage")],
  [/^\/embed\/(.+)$/, "embed", page("contest", "embedPage")],
  [/^\/r\/(.+)$/, "receipt", page("receipt", "receiptPage")],
  [/^\/operators$/, "operators", page("operators", "operatorsPage")],
];
const RETRY_MS = 5000;
const MISSING = { embed: "noElection", receipt: "noReceipt", polls: "archived", laws: "noLaw", elections: "noElection", tallies: "noTally" };

function go(address) {
  history.pushState(null, "", address);
  show(true);
}

function frame(current) {
  const next = languageAfter();
  const links = [["/", "home"], ["/elections", "elections"], ["/laws", "laws"], ["/p", "polls"], ["/tallies", "tallies"]];
  document.getElementById("skip").textContent = t("skip");
  document.getElementById("nav").replaceChildren(...links.map(([href, name]) => h("a", { href, "aria-current": name === current ? "page" : null }, t(name))));
  document.getElementById("tools").replaceChildren(
    h("button", { class: "plain", type: "button", lang: next.code, onclick: async () => { await setLanguage(next.code); show(false); } }, next.name),
    h("button", { class: "plain", type: "button", "aria-label": t("theme"), onclick: otherTheme }, "◐"));
}

function otherTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  keep("theme", root.dataset.theme);
}

async function show(moved) {
  for (const end of leaving) end();
  const mine = (leaving = []);
  const found = PAGES.map(([pattern, name, page]) => ({ match: pattern.exec(location.pathname), name, page })).find((p) => p.match);
  frame(found && found.name);
  const leave = (end) => { if (mine === leaving) mine.push(end); else end(); };
  async function build() {
    if (!found) throw new Error(t("notFound"));
    const root = h("div");
    await found.page(root, decodeURIComponent(found.match[1] || ""), leave, go);
    return root;
  }
  let root;
  try {
    root = await build();
  } catch (error) {
    const text = error.status === 404 ? t(MISSING[found.name]) : error instanceof URIError ? t("notFound") : error.message;
    document.title = "Scrutin";
    root = h("div", { class: "card" }, h("h1", {}, text), h("p", {}, h("a", { href: "/" }, t("back"))));
    // Its first vote may be on its way.
    if (error.status === 404) {
      const timer = setInterval(() => build().then((late) => { clearInterval(timer); if (mine === leaving) main.replaceChildren(late); }, () => {}), RETRY_MS);
      leave(() => clearInterval(timer));
    }
  }
  // A slow answer must not replace a page that was opened since.
  if (mine !== leaving) return;
  main.replaceChildren(root);
  if (moved) main.focus();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='/']");
  if (!link || link.dataset.file || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  go(link.getAttribute("href"));
});
window.addEventListener("popstate", () => show(true));
window.addEventListener("unhandledrejection", (event) => say(event.reason.message || t("errorTitle")));

if (kept("theme")) document.documentElement.dataset.theme = kept("theme");
await startLanguage();
show(false);
