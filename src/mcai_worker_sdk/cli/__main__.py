"""``python -m mcai_worker_sdk.cli``: the command, where its script is not on the path."""

from mcai_worker_sdk.cli import main

main()
