// Calls `show` with the result of a contest, whole, each time that it changes; returns a function
// that stops. After a break of the connection it goes on from the result that it has.
//
//     const stop = follow("http://localhost:8000", "L1", (result) => console.log(result.total_votes));

export function follow(gateway, contest, show) {
  let result = {}, tag = "", socket, stopped = false;

  function patched(document, patch) {
    const object = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
    if (!object(patch) || !object(document)) return patch;
    const changed = { ...document };
    for (const [name, value] of Object.entries(patch)) changed[name] = patched(document[name], value);
    return changed;
  }

  function connect() {
    const url = new URL(`/v2/contests/${encodeURIComponent(contest)}/socket`, gateway);
    url.protocol = url.protocol.replace("http", "ws");
    url.searchParams.set("tag", tag);
    socket = new WebSocket(url);
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      if (message.type === "heartbeat") return;
      result = message.type === "result" ? message.data : patched(result, message.data);
      tag = message.tag;
      show(result);
    };
    socket.onclose = () => stopped || setTimeout(connect, 2000);
  }

  connect();
  return () => { stopped = true; socket.close(); };
}
