"""Lists the services on a server with nats-py.

    services.py URL [COUNT]

Queries $SRV.PING, $SRV.INFO and $SRV.STATS, parses each answer with nats-py's own classes, and prints
{"ping": [..], "info": [..], "stats": [..]}. Collects COUNT answers of each kind, or all answers until
none arrives for half a second. An answer that nats-py cannot read is an error.
"""

import asyncio
import json
import sys

import nats
from nats.micro.service import ServiceInfo, ServicePing, ServiceStats

KINDS = {
    "ping": (ServicePing, "io.nats.micro.v1.ping_response"),
    "info": (ServiceInfo, "io.nats.micro.v1.info_response"),
    "stats": (ServiceStats, "io.nats.micro.v1.stats_response"),
}


async def collect(client, subject, count):
    inbox = client.new_inbox()
    replies = await client.subscribe(inbox)
    await client.publish(subject, b"", reply=inbox)
    answers = []
    while count is None or len(answers) < count:
        try:
            reply = await replies.next_msg(timeout=0.5 if count is None else 5)
        except nats.errors.TimeoutError:
            break
        if reply.headers and reply.headers.get("Status") == "503":
            break
        answers.append(reply.data)
    await replies.unsubscribe()
    return answers


def parse(kind, answer):
    parser, schema = KINDS[kind]
    try:
        data = json.loads(answer)
        if data["type"] != schema:
            raise ValueError(f"type {data['type']!r}, instead of {schema!r}")
        return parser.from_dict(data).to_dict()
    except Exception as error:
        raise SystemExit(f"nats-py cannot read this {kind} answer: {error!r}\n{answer!r}")


async def main(url, count=None):
    client = await nats.connect(url, allow_reconnect=False)
    seen = {}
    for kind in KINDS:
        answers = await collect(client, f"$SRV.{kind.upper()}", count and int(count))
        seen[kind] = [parse(kind, answer) for answer in answers]
    await client.close()
    print(json.dumps(seen))


asyncio.run(main(*sys.argv[1:]))
