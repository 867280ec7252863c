// Sends one request with nats.js.
//
//     request.mjs URL SUBJECT BODY_BASE64 [NAME:VALUE]..
//
// Prints {"headers": {NAME: [VALUE, ..]}, "body": BASE64, "service_error": {"code", "message"} or
// null}, or {"error": "no responders" | "timeout"}.

import { createRequire } from "node:module";

// The packages are in NODE_PATH, which only `require` supports.
const require = createRequire(import.meta.url);
const { connect, errors, headers } = require("@nats-io/transport-node");
const { ServiceError } = require("@nats-io/services");

const [url, subject, body, ...given] = process.argv.slice(2);
const connection = await connect({ servers: url, reconnect: false });
const sent = given.length ? headers() : undefined;
for (const header of given) {
  const colon = header.indexOf(":");
  sent.append(header.slice(0, colon), header.slice(colon + 1));
}

function told(error) {
  if (error instanceof errors.NoRespondersError) return "no responders";
  if (error.isNoResponders?.()) return "no responders";
  if (error instanceof errors.TimeoutError) return "timeout";
  throw error;
}

try {
  const reply = await connection.request(subject, Buffer.from(body ?? "", "base64"), {
    timeout: 5000,
    headers: sent,
  });
  const names = reply.headers?.keys() ?? [];
  const refused = ServiceError.toServiceError(reply);
  console.log(
    JSON.stringify({
      headers: Object.fromEntries(names.map((name) => [name, reply.headers.values(name)])),
      body: Buffer.from(reply.data).toString("base64"),
      service_error: refused && { code: refused.code, message: refused.message },
    }),
  );
} catch (error) {
  console.log(JSON.stringify({ error: told(error) }));
} finally {
  await connection.close();
}
