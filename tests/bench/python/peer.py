"""nats-py as a peer of the benchmark suite: request and reply.

Like the suite's own program, this one is started as `serve PEER URL` and `call PEER URL --clients N`, prints
that it is ready, exchanges lines of JSON, and ends with its input."""

import asyncio
import json
import sys
import time

import nats

NAP = 0.01
TIMEOUT = 5
ECHO, SLEEP = "bench.nats-py.echo", "bench.nats-py.sleep"


def say(line):
    print(line, flush=True)


async def lines():
    """Yields the lines of the input without blocking other tasks."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield line


async def serve(url):
    nc = await nats.connect(url)
    sleeping = set()

    async def echo(message):
        await message.respond(message.data)

    async def nap(message):
        await asyncio.sleep(NAP)
        await message.respond(message.data)

    async def sleep(message):
        # One task per request, so that handlers sleep concurrently.
        task = asyncio.create_task(nap(message))
        sleeping.add(task)
        task.add_done_callback(sleeping.discard)

    await nc.subscribe(ECHO, "q", cb=echo)
    await nc.subscribe(SLEEP, "q", cb=sleep)
    await nc.flush()
    say(f"ready {url}")
    async for _ in lines():
        pass


async def drive(clients, job):
    subject = {"unary": ECHO, "sleep": SLEEP}.get(job["what"])
    if subject is None:
        return {"errors": 1, "error": job["what"] + " is not part of what nats-py does"}
    body = b"x" * job["payload"]
    times, errors = [], []
    began = time.perf_counter()
    end = began + job["millis"] / 1000

    async def caller(nc):
        now = time.perf_counter()
        while now < end:
            try:
                answer = await nc.request(subject, body, timeout=TIMEOUT)
                ended = time.perf_counter()
                if len(answer.data) == len(body):
                    times.append(ended - now)
                else:
                    errors.append(f"an answer of {len(answer.data)} bytes")
            except Exception as error:
                errors.append(repr(error))
                await asyncio.sleep(NAP)
                ended = time.perf_counter()
            now = ended

    callers = range(max(job["callers"], 1))
    await asyncio.gather(*(caller(clients[n % len(clients)]) for n in callers))
    outcome = {"done": len(times), "seconds": time.perf_counter() - began, "errors": len(errors)}
    if errors:
        outcome["error"] = errors[0]
    if times:
        times.sort()
        outcome["p50_us"] = times[int(0.5 * (len(times) - 1))] * 1e6
        outcome["p99_us"] = times[int(0.99 * (len(times) - 1))] * 1e6
    return outcome


async def call(url, count):
    clients = [await nats.connect(url) for _ in range(count)]
    say("ready")
    async for line in lines():
        say(json.dumps(await drive(clients, json.loads(line))))


def main():
    role, _, address, *rest = sys.argv[1:]
    if role == "serve":
        asyncio.run(serve(address))
    else:
        asyncio.run(call(address, int(rest[1]) if rest else 1))


main()
