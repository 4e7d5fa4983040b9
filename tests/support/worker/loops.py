"""A worker whose script does with event loops what some scripts do; ``TEST_LOOPS`` says which."""

import asyncio
import os
import warnings

from worker import CodeParameters, CodeWorker

import mcai_worker_sdk as mcai


class OwnPolicy(asyncio.DefaultEventLoopPolicy if hasattr(asyncio, "DefaultEventLoopPolicy") else object):
    """A policy whose loops are for the author's own purposes."""

    def new_event_loop(self):
        raise RuntimeError("The author's policy has no loop for this.")


def start():
    CodeWorker(CodeParameters, mcai.WorkerDescription(None)).start()


async def start_inside():
    start()


if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)
    which = os.environ["TEST_LOOPS"]
    if which == "uvloop":
        import uvloop

        uvloop.install()
    elif which == "a policy":
        asyncio.set_event_loop_policy(OwnPolicy())
    elif which == "a closed loop":
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        loop.close()
    if which == "a running loop":
        asyncio.run(start_inside())
    else:
        start()
