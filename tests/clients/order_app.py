"""An order service: it writes order events one after another, as its customers would order, until
SIGTERM; then it waits for what is on its way, and ends.

    order_app.py SERVERS TOPIC EVENTS INTERVAL

EVENTS is a file with one event as JSON a line. For each that a broker has acknowledged there is a
line on stdout: its index, partition and offset.
"""

import json
import signal
import sys
import threading

import confluent_kafka as kafka

FLUSH_LIMIT = 30.0


def main():
    servers, topic, path, interval = sys.argv[1:]
    told_to_end = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told_to_end.set())
    producer = kafka.Producer(
        {"bootstrap.servers": servers, "acks": "all", "enable.idempotence": True, "linger.ms": 2}
    )

    def delivered(index):
        def callback(error, message):
            if error:
                raise RuntimeError(str(error))
            print(json.dumps([index, message.partition(), message.offset()]), flush=True)

        return callback

    with open(path, encoding="utf-8") as events:
        for index, line in enumerate(events):
            if told_to_end.is_set():
                break
            key = json.loads(line)["orderId"]
            value = line.rstrip("\n").encode()
            producer.produce(topic, key=key.encode(), value=value, on_delivery=delivered(index))
            producer.poll(float(interval))
    # With all events written, an order service still does not end by itself.
    while not told_to_end.is_set():
        producer.poll(0.1)
    if producer.flush(FLUSH_LIMIT):
        sys.exit("orders were not acknowledged")


if __name__ == "__main__":
    main()
