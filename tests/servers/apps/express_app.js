// The app of Express. The file `behaviour` of its release says what is wrong with it (tests/servers/server.py).
"use strict";

const express = require("express");
const fs = require("node:fs");
const { WebSocketServer } = require("ws");

const behaviour = fs.readFileSync("behaviour", "utf8").trim();
const [generation, instance] = ["GENERATION", "INSTANCE"].map((name) => Number(process.env[`DEPLOYD_${name}`]));
const identity = { generation, instance, pid: process.pid };
const download = Buffer.alloc(4_000_000, "x");

const app = express();
app.use((request, response, next) => (behaviour === "errors" ? response.sendStatus(500) : next()));
app.use(express.text({ limit: "2mb" }));
app.get("/", (request, response) => response.json(identity));
app.get("/_status", (request, response) => response.json(identity));
app.get("/slow", (request, response) => {
  setTimeout(() => response.json(identity), 1000 * Number(request.query.seconds));
});
app.post("/upload", (request, response) => response.json({ received: request.body.length }));
app.get("/download", (request, response) => response.send(download));

if (behaviour === "crash") throw new Error("this release crashes");
if (behaviour === "late") setTimeout(() => require("no-such-module"), 1000);
else if (behaviour === "hang") setInterval(() => {}, 1000);
else {
  const sockets = new WebSocketServer({ server: app.listen(process.env.PORT || 3000), path: "/events" });
  let leaving = false;
  sockets.on("connection", (socket) => socket.on("message", (data) => {
    socket.send(data, { binary: false });
    if (leaving) socket.close(1012); // after an answer, so that no message crosses the close frame
  }));
  process.on("SIGTERM", () => { // node waits for open connections
    leaving = true;
    setTimeout(() => sockets.clients.forEach((socket) => socket.close(1012)), 1000);
  });
}
