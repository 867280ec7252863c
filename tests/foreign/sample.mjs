// A service written with nats.js, for tests of clients: the same as sample.py.
//
//     sample.mjs URL

import { createRequire } from "node:module";

// The packages are in NODE_PATH, which only `require` supports.
const require = createRequire(import.meta.url);
const { connect, headers } = require("@nats-io/transport-node");
const { Svcm } = require("@nats-io/services");

const connection = await connect({ servers: process.argv[2], reconnect: false });
const service = await new Svcm(connection).add({
  name: "sample",
  version: "1.2.3",
  description: "A sample",
  metadata: { key: "value" },
});
const group = service.addGroup("sample");
group.addEndpoint("echo", (error, message) => {
  const seen = headers();
  seen.set("Seen", "yes");
  message.respond(message.data, { headers: seen });
});
group.addEndpoint("fail", (error, message) => {
  message.respondError(500, "it broke", "details");
});
await connection.flush();
console.log("serving");
await connection.closed();
