"""
A worker whose job is the Python code in its order: one script for every test that needs a real worker.

The code sees ``ch`` (channel), ``p`` (parameters), ``job_id``, ``self``, ``mcai`` and the usual modules, and puts what
``process`` returns into ``ret``. It runs under this SDK and under the reference alike.
"""

import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from typing import Optional

import mcai_worker_sdk as mcai


class CodeParameters(mcai.WorkerParameters):
    code: str
    number: Optional[int]  # noqa: UP045 - the form that the reference's documentation teaches


class CodeWorker(mcai.Worker):
    def setup(self):
        self.jobs = 0
        exec(os.environ.get("TEST_SETUP_CODE", ""), {"self": self, "os": os, "time": time, "sys": sys})

    def process(self, channel, parameters, job_id):
        self.jobs += 1
        names = {
            "ch": channel,
            "p": parameters,
            "job_id": job_id,
            "self": self,
            "ret": None,
            "mcai": mcai,
            "ctypes": ctypes,
            "logging": logging,
            "os": os,
            "signal": signal,
            "subprocess": subprocess,
            "sys": sys,
            "threading": threading,
            "time": time,
        }
        exec(parameters.code, names)
        return names["ret"]


if __name__ == "__main__":
    CodeWorker(CodeParameters, mcai.WorkerDescription(None)).start()
