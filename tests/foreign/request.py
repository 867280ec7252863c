"""Sends one request with nats-py.

    request.py URL SUBJECT BODY_BASE64 [NAME:VALUE]..

Prints {"headers": {NAME: [VALUE, ..]}, "body": BASE64}, or {"error": "no responders" | "timeout"}.
nats-py keeps one value of a repeated header.
"""

import asyncio
import base64
import json
import sys

import nats


async def main(url, subject, body, *headers):
    client = await nats.connect(url, allow_reconnect=False)
    try:
        reply = await client.request(
            subject,
            base64.b64decode(body),
            timeout=5,
            headers=dict(header.split(":", 1) for header in headers) or None,
        )
        print(
            json.dumps(
                {
                    "headers": {name: [value] for name, value in (reply.headers or {}).items()},
                    "body": base64.b64encode(reply.data).decode(),
                }
            )
        )
    except nats.errors.NoRespondersError:
        print(json.dumps({"error": "no responders"}))
    except nats.errors.TimeoutError:
        print(json.dumps({"error": "timeout"}))
    finally:
        await client.close()


asyncio.run(main(*sys.argv[1:]))
