"""A worker whose job is the Python code in its order, for the tests of local orders and of ``start()`` itself."""

import asyncio
import logging
import os
import signal
import sys
import threading
import time

import mcai_worker_sdk as mcai


class CodeParameters(mcai.WorkerParameters):
    """The work, as Python statements."""

    code: str
    number: int | None = None
    token: str = ""


class CodeWorker(mcai.Worker):
    """Written as the documentation of the reference shows it."""

    def __init__(self, params, desc):
        super().__init__(params, desc)
        self.jobs = 0

    def setup(self):
        exec(os.environ.get("TEST_SETUP_CODE", ""), globals(), {"self": self})

    def process(self, channel, parameters, job_id):
        self.jobs += 1
        names = {"self": self, "ch": channel, "p": parameters, "job_id": job_id, "ret": None}
        exec(parameters.code, {**globals(), **names}, names)
        return names["ret"]


def main():
    exec(os.environ.get("TEST_BEFORE_START", ""), globals())
    worker = CodeWorker(CodeParameters, mcai.WorkerDescription(__package__))
    worker.start()
    print("start() returned")


__all__ = ["asyncio", "logging", "signal", "sys", "threading", "time"]

if __name__ == "__main__":
    main()
