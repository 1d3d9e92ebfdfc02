// Live totals: a snapshot, then deltas, each with the number of the change it continues. After a gap
// or a lost connection, a new snapshot. A feed that says nothing for a while is dropped and opened
// again: a frozen gateway closes nothing.

const DEAD_MS = 10000;
const NO_SUCH = 4404;

export class Live {
  constructor(path, onChange, mark) {
    this.path = path;
    this.onChange = onChange;
    this.mark = mark;
    this.number = null;
    this.totals = {};
    this.standing = {};
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
    this.socket = new WebSocket(`${scheme}://${location.host}${this.path}`);
    this.socket.onmessage = (event) => { this.pause = 500; this.take(JSON.parse(event.data)); };
    this.socket.onclose = (event) => (event.code === NO_SUCH ? this.close() : this.again());
  }

  again() {
    this.drop();
    this.number = null;
    this.mark.lose();
    this.timer = setTimeout(() => this.connect(), this.pause * (0.5 + Math.random()));
    this.pause = Math.min(this.pause * 2, 10000);
  }

  drop() {
    this.socket.onmessage = this.socket.onclose = null;
    this.socket.close();
  }

  take(message) {
    if (message.type === "waiting") { this.mark.hear(); return; }
    if (message.type === "snapshot") this.totals = { ...message.totals };
    else if (message.type === "delta" && message.continues === this.number) Object.assign(this.totals, message.totals);
    else { this.socket.send("snapshot"); return; }
    this.mark.beat(message.age_s || 0);
    this.number = message.number;
    if (message.heartbeat) return;
    for (const name of ["state", "final", "closes_at"]) if (name in message) this.standing[name] = message[name];
    this.onChange(this.totals, this.standing, message.total);
  }

  close() {
    clearInterval(this.watchdog);
    clearTimeout(this.timer);
    this.drop();
    this.mark.close();
  }
}
