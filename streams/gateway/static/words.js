// The language of the pages, and numbers and dates in it. Each language is a file of its own,
// `language-CODE.js`; the head of the page tells which there are.

const stored = (name) => { try { return localStorage.getItem(name); } catch { return null; } };
export const keep = (name, value) => { try { localStorage.setItem(name, value); } catch { /* private mode */ } };
export const kept = stored;

let languages = [];
let language = "en";
let words = {};

// Reads the languages, and takes the one that was chosen here before, else the browser's.
export async function startLanguage() {
  languages = JSON.parse(document.querySelector("meta[name=languages]").content);
  const wanted = [stored("language"), ...navigator.languages.map((tag) => tag.split("-")[0]), "en"];
  await setLanguage(wanted.find((code) => languages.some((one) => one.code === code)), false);
}

export async function setLanguage(code, chosen = true) {
  ({ words } = await import(`./language-${code}.js`));
  language = code;
  if (chosen) keep("language", code);
  document.documentElement.lang = code;
  document.documentElement.dir = words.direction || "ltr";
}

export const languageNow = () => language;

// The language that the button offers.
export function languageAfter() {
  const at = languages.findIndex((one) => one.code === language);
  return languages[(at + 1) % languages.length];
}

export function t(key, ...given) {
  const word = words[key];
  return typeof word === "function" ? word(...given) : word;
}

export function fmt(number, digits = 0) {
  return new Intl.NumberFormat(language, { maximumFractionDigits: digits }).format(number);
}

export function percent(part, whole) {
  return new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 1 }).format(whole ? part / whole : 0);
}

export function clock(ms) {
  return new Intl.DateTimeFormat(language, { timeStyle: "medium" }).format(ms);
}

export const timeOf = (ms, style) => new Intl.DateTimeFormat(language, style).format(ms);

export function when(iso, seconds = false) {
  const style = { dateStyle: "medium", timeStyle: seconds ? "medium" : "short" };
  return new Intl.DateTimeFormat(language, style).format(new Date(iso));
}
