// Answers with what was asked, through Node.js's own http.

const http = require("http");

http
  .createServer(async (request, response) => {
    const pieces = [];
    for await (const piece of request) pieces.push(piece);
    console.log("served", request.headers["x-fc-request-id"]);
    response.writeHead(201, { "Function-Name": process.env.FC_FUNCTION_NAME });
    const told = request.headers["x-fc-control-path"];
    response.end(`${request.method} ${request.url} ${told} ${Buffer.concat(pieces)}`);
  })
  .listen(9000, "0.0.0.0");
