// Lists the services on a server with nats.js.
//
//     services.mjs URL [COUNT]
//
// Queries discovery with the services client and prints {"ping": [..], "info": [..], "stats": [..]}. Collects
// COUNT answers of each kind, or all answers until none arrives for a while.

import { createRequire } from "node:module";

// The packages are in NODE_PATH, which only `require` supports.
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
    // No responders means an empty list; any other error is an answer that nats.js cannot read.
    if (!/no responders|503/i.test(String(error))) throw error;
  }
}
console.log(JSON.stringify(seen));
await connection.close();
