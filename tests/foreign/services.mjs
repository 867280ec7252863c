// What nats.js sees of the services on a server.
//
//     services.mjs URL [COUNT]
//
// Asks with the services client and prints {"ping": [..], "info": [..], "stats": [..]}. Collects
// until COUNT answers to each came, else until none came for a while.

import { createRequire } from "node:module";

// The packages lie elsewhere, named by NODE_PATH, which only `require` looks at.
const require = createRequire(import.meta.url);
const { connect } = require("@nats-io/transport-node");
const { Svcm } = require("@nats-io/services");

const [url, count] = process.argv.slice(2);
const connection = await connect({ servers: url, reconnect: false });
const options = count
  ? { strategy: "count", maxMessages: Number(count), maxWait: 5000 }
  : { strategy: "stall", stall: 500, maxWait: 5000 };
const client = new Svcm(connection).client(options);

const seen = {};
for (const verb of ["ping", "info", "stats"]) {
  seen[verb] = [];
  try {
    for await (const answer of await client[verb]()) {
      seen[verb].push(answer);
    }
  } catch (error) {
    // Nobody there is an empty list; anything else is an answer that nats.js cannot read.
    if (!/no responders|503/i.test(String(error))) throw error;
  }
}
console.log(JSON.stringify(seen));
await connection.close();
