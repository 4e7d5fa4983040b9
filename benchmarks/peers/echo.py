"""
The limit: a bare loop of pika in one process, without isolation, that sends what a job's life sends on the wire.

A progression of 0, then a persistent result that the broker confirms, then the acknowledgement.
"""

from __future__ import annotations

import json
import os

import pika

PERSISTENT = pika.BasicProperties(delivery_mode=2, content_type="application/json")


def main() -> None:
    """Empty the queue until it is killed."""
    connection = pika.BlockingConnection(pika.URLParameters(os.environ["PEER_URL"]))
    orders, progressions, results = connection.channel(), connection.channel(), connection.channel()
    results.confirm_delivery()
    orders.basic_qos(prefetch_count=1)
    for method, _, body in orders.consume(os.environ["PEER_QUEUE"]):
        job_id = json.loads(body)["job_id"]
        progression = {"job_id": job_id, "progression": 0, "datetime": "2026-01-01T00:00:00.000000Z"}
        progressions.basic_publish("job_response", "job_progression", json.dumps(progression).encode(), PERSISTENT)
        result = {"job_id": job_id, "status": "completed", "parameters": [], "destination_paths": []}
        results.basic_publish("job_response", "job_completed", json.dumps(result).encode(), PERSISTENT, mandatory=True)
        orders.basic_ack(method.delivery_tag)


if __name__ == "__main__":
    main()
