"""A service written with nats-py, for tests of clients.

    sample.py URL

Serves `sample.echo` (the body back, header `Seen: yes`) and `sample.fail` (error 500 `it broke`
with a body) as the service `sample`, and prints `serving` once it does.
"""

import asyncio
import sys

import nats
from nats import micro


async def echo(request):
    await request.respond(request.data, headers={"Seen": "yes"})


async def fail(request):
    await request.respond_error("500", "it broke", data=b"details")


async def main(url):
    client = await nats.connect(url)
    service = await micro.add_service(
        client, name="sample", version="1.2.3", description="A sample", metadata={"key": "value"}
    )
    group = service.add_group(name="sample")
    await group.add_endpoint(name="echo", handler=echo)
    await group.add_endpoint(name="fail", handler=fail)
    await client.flush()
    print("serving", flush=True)
    await asyncio.Event().wait()


asyncio.run(main(*sys.argv[1:]))
