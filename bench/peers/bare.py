"""aiokafka and nothing else: each message is written on as it is."""

import asyncio
import os

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

SERVERS, SOURCE, OUT, GROUP = (os.environ[f"BENCH_{name}"] for name in ("SERVERS", "IN", "OUT", "GROUP"))


async def main():
    """Pass messages on until killed."""
    consumer = AIOKafkaConsumer(
        SOURCE,
        bootstrap_servers=SERVERS,
        group_id=GROUP,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    producer = AIOKafkaProducer(bootstrap_servers=SERVERS, acks="all", enable_idempotence=True, linger_ms=5)
    await consumer.start()
    await producer.start()
    while True:
        for records in (await consumer.getmany(timeout_ms=500, max_records=5_000)).values():
            sent = [await producer.send(OUT, record.value, record.key) for record in records]
            await asyncio.gather(*sent)
        await consumer.commit()


uvloop.run(main())
