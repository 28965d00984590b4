// The app of node. The file `behaviour` of the release says what is wrong with it; see tests/servers/server.py.
"use strict";

const fs = require("node:fs");
const http = require("node:http");
const path = require("node:path");

const behaviour = fs.readFileSync(path.join(__dirname, "behaviour"), "utf8").trim();
const version = path.basename(__dirname);
const [generation, instance] = ["GENERATION", "INSTANCE"].map((name) => Number(process.env[`DEPLOYD_${name}`]));
const download = Buffer.alloc(4_000_000, "x");

// At a port of its own the program ends by itself, as any should: its clients leave before it closes their connections.
let stopping = false;
if (process.env.PORT) {
  for (const signal of ["SIGINT", "SIGTERM"]) {
    process.on(signal, () => {
      stopping = true;
      setTimeout(() => server.close(() => process.exit()), 1000);
    });
  }
}

function json(response, value) {
  response.setHeader("Content-Type", "application/json");
  response.end(JSON.stringify(value));
}

const server = http.createServer((request, response) => {
  const url = new URL(request.url, "http://demo");
  const identity = { generation, version, instance, pid: process.pid };
  if (stopping) response.setHeader("Connection", "close");
  if (behaviour === "errors") {
    response.statusCode = 500;
    response.end("this release answers 500\n");
  } else if (url.pathname === "/slow") {
    setTimeout(() => json(response, identity), 1000 * Number(url.searchParams.get("seconds")));
  } else if (url.pathname === "/upload") {
    let received = 0;
    request.on("data", (chunk) => { received += chunk.length; });
    request.on("end", () => json(response, { received }));
  } else if (url.pathname === "/download") {
    response.end(download);
  } else {
    json(response, identity);
  }
});

function listen() {
  server.listen(Number(process.env.PORT || 3000), () => process.send?.("ready")); // to pm2
}

if (behaviour === "crash") throw new Error("this release crashes");
if (behaviour === "late") setTimeout(() => require("no-such-module"), 1000);
else if (behaviour === "hang") setInterval(() => {}, 1000);
else setTimeout(listen, 1000 * Number(process.env.BOOT || 0));
