// The live result of a contest: the document that the page loaded, then patches of it, which are
// JSON merge patches (RFC 7396) but for lists. After a lost connection the feed names the result that it has, and goes on from there. A feed that
// says nothing for a while is dropped and opened again: a frozen gateway closes nothing.

import { exchange } from "./api.js";

const DEAD_MS = 10000;
const NO_SUCH = 4404;

// The result of a contest and the tag that the feed goes on from.
export async function load(contest) {
  const { body, headers } = await exchange("GET", `/v2/contests/${encodeURIComponent(contest)}`);
  return { result: body, tag: /"([0-9a-f]*)"/.exec(headers.get("ETag"))[1] };
}

// A socket that opens again when it is lost.
export class Feed {
  // address: gives the path. take: gets each message. mark: says how old the figures are.
  constructor(address, take, mark) {
    this.address = address;
    this.take = take;
    this.mark = mark;
    this.pause = 500;
    this.timer = null;
    this.watchdog = setInterval(() => {
      if (this.timer === null && Math.min(mark.silentMs(), Date.now() - this.opened) > DEAD_MS) this.again();
    }, 1000);
    this.connect();
  }

  connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    this.timer = null;
    this.opened = Date.now();
    this.socket = new WebSocket(`${scheme}://${location.host}${this.address()}`);
    this.socket.onmessage = (event) => { this.pause = 500; this.take(JSON.parse(event.data)); };
    this.socket.onclose = (event) => (event.code === NO_SUCH ? this.close() : this.again());
  }

  again() {
    this.drop();
    this.mark.lose();
    this.timer = setTimeout(() => this.connect(), this.pause * (0.5 + Math.random()));
    this.pause = Math.min(this.pause * 2, 10000);
  }

  drop() {
    this.socket.onmessage = this.socket.onclose = null;
    this.socket.close();
  }

  close() {
    clearInterval(this.watchdog);
    clearTimeout(this.timer);
    this.drop();
    this.mark.close();
  }
}

// Follows the result of a contest. loaded: {result, tag}.
export function follow(contest, loaded, onChange, mark) {
  let { result, tag } = loaded;
  onChange(result);
  return new Feed(() => `/v2/contests/${encodeURIComponent(contest)}/socket?patch=items&tag=${tag}`, (message) => {
    mark.beat(message.age_s, message.data.late === true);
    tag = message.tag;
    if (message.type === "heartbeat") return;
    result = message.type === "result" ? message.data : patched(result, message.data);
    onChange(result);
  }, mark);
}

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

// What did not change stays the same object. A patch of a list has the items that changed by their index.
export function patched(target, patch) {
  if (!isObject(patch)) return patch;
  if (Array.isArray(target)) return target.map((one, n) => (n in patch ? patched(one, patch[n]) : one));
  const made = isObject(target) ? { ...target } : {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete made[name];
    else made[name] = patched(made[name], value);
  }
  return made;
}
