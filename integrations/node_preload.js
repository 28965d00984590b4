// Node under deployd, without a change of the program: its HTTP server takes the socket that systemd holds, whatever
// port it asks for, and stops without loss.
//
//     exec = ["/usr/bin/node", "--require", "/usr/share/deployd/integrations/node_preload.js", "server.js"]
//     gate = { type = "exec", probe = { http = "/" } }    # node cannot send READY=1
//
// The first server that listens on a port gets the descriptors of LISTEN_FDS; later ones listen as they ask. On SIGTERM
// servers accept nothing more, answer with "Connection: close", and close idle connections after LINGER, because a
// request may be on its way. Then node exits, unless the program has something left to do: after its own SIGTERM
// handler, if it has one. Works with http, Express, Fastify, Koa and whatever else ends in net.Server.listen().
"use strict";

const http = require("node:http");
const net = require("node:net");

const FIRST = 3; // the first inherited descriptor, sd_listen_fds(3)
const LINGER = 2000; // milliseconds

const passed = process.env.LISTEN_PID === String(process.pid) ? Number(process.env.LISTEN_FDS) : 0;
const { listen, close } = net.Server.prototype;
const servers = new Set();
let stopping = false;

net.Server.prototype.listen = function (...options) {
  const [wanted] = options;
  const elsewhere = typeof wanted === "string" ? Number.isNaN(Number(wanted)) : wanted?.path ?? wanted?.fd;
  if (servers.size || !passed || elsewhere) return listen.apply(this, options); // a path or a descriptor of its own
  servers.add(this);
  this.close = (callback) => stop(this, callback);
  for (let more = 1; more < passed; more += 1) { // the other addresses of the app
    const other = net.createServer((connection) => this.emit("connection", connection));
    servers.add(listen.call(other, { fd: FIRST + more }));
  }
  return listen.call(this, { fd: FIRST }, options.find((option) => typeof option === "function"));
};

const { writeHead } = http.ServerResponse.prototype;
http.ServerResponse.prototype.writeHead = function (...head) {
  if (stopping) this.shouldKeepAlive = false;
  return writeHead.apply(this, head);
};

// http.Server's own close() closes idle connections at once. A second call, in the program's handler, waits as well.
function stop(server, callback) {
  if (callback) server.once("close", callback);
  if (!stopping) {
    stopping = true;
    for (const each of servers) close.call(each);
    setTimeout(() => server.closeIdleConnections?.(), LINGER).unref();
  }
  return server;
}

process.on("SIGTERM", () => {
  const [first] = servers;
  if (first) stop(first);
  else process.exit(143); // as without a handler
});
