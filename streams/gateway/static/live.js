// Live totals: a snapshot, then deltas, each with the number of the change it continues. After a gap
// or a lost connection, a new snapshot.

export class Live {
  constructor(path, onChange, onState) {
    this.path = path;
    this.onChange = onChange;
    this.onState = onState;
    this.number = null;
    this.totals = {};
    this.standing = {};
    this.pause = 500;
    this.closed = false;
    this.connect();
  }

  connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    this.socket = new WebSocket(`${scheme}://${location.host}${this.path}`);
    this.socket.onopen = () => { this.pause = 500; this.onState(true); };
    this.socket.onmessage = (event) => this.take(JSON.parse(event.data));
    this.socket.onclose = () => {
      if (this.closed) return;
      this.number = null;
      this.onState(false);
      this.timer = setTimeout(() => this.connect(), this.pause * (0.5 + Math.random()));
      this.pause = Math.min(this.pause * 2, 10000);
    };
  }

  take(message) {
    if (message.type === "snapshot") this.totals = { ...message.totals };
    else if (message.type === "delta" && message.continues === this.number) Object.assign(this.totals, message.totals);
    else { this.socket.send("snapshot"); return; }
    this.number = message.number;
    for (const name of ["state", "final", "closes_at"]) if (name in message) this.standing[name] = message[name];
    this.onChange(this.totals, this.standing);
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    this.socket.close();
  }
}
