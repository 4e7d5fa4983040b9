"""
What an order's values become: the author's annotated class, its published schema, one new object per job.

``fields`` reads the class, with ``config`` and ``declarations`` for what it says beside its fields.
``schema`` publishes it, with ``generator`` for pydantic's part.
``conformance`` holds values against that, ``faults`` finds the words for what does not fit.
``model`` has the two names others use.
"""

from mcai_worker_sdk.parameters.model import ParametersModel, WorkerParameters

__all__ = ["ParametersModel", "WorkerParameters"]
