"""The smallest worker that does something: it greets somebody, several times."""

import logging
from typing import Any

import mcai_worker_sdk as mcai

logger = logging.getLogger(__name__)


class GreetingParameters(mcai.WorkerParameters):
    """What an order may ask for."""

    name: str
    times: int = 3


class GreetingWorker(mcai.Worker):
    """Greet ``name``, ``times`` times."""

    def process(self, channel: mcai.McaiChannel, parameters: GreetingParameters, job_id: int) -> dict[str, Any]:
        """Run one job."""
        for done in range(parameters.times):
            logger.info("Hello, %s!", parameters.name)
            channel.publish_job_progression(100 * (done + 1) / parameters.times)
        return {"parameters": [{"id": "greetings", "kind": "integer", "value": parameters.times}]}


if __name__ == "__main__":
    GreetingWorker(GreetingParameters, mcai.WorkerDescription(__package__)).start()
