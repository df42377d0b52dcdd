// An Express application, as it would run anywhere: it listens on all addresses, port 9000.

const express = require("express");

const app = express();
app.use(express.json());

app.get("/", (request, response) => {
  response.json({ hello: request.query.name || "world" });
});

app.post("/orders", (request, response) => {
  console.log(`order of ${request.body.item}`);
  response.status(201).json(request.body);
});

const server = app.listen(9000, "0.0.0.0");
// The cloud uses connections again, and asks that idle ones are kept for 15 minutes.
server.keepAliveTimeout = 0;
server.requestTimeout = 0;
