// Answers with what was asked, through Express. An event is there only if it comes with its type.

const express = require("express");

const app = express();
app.use(express.raw({ type: "application/octet-stream" }));
app.use((request, response) => {
  console.log("served", request.get("x-fc-request-id"));
  response.status(201).set("Function-Name", process.env.FC_FUNCTION_NAME);
  const told = request.get("x-fc-control-path");
  const body = Buffer.isBuffer(request.body) ? request.body : "";
  response.send(`${request.method} ${request.originalUrl} ${told} ${body}`);
});
app.listen(9000, "0.0.0.0");
