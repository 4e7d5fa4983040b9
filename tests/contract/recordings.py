"""
The reference's answers to each scenario: facts, recorded by ``python -m tests.contract.recordings``.

The contract tests compare with these files, so the check has its force where the reference cannot be installed; where
it can be, another test holds the files against the reference itself.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

from tests.contract.on_rabbitmq import run_on_rabbitmq
from tests.contract.reference import find_reference
from tests.contract.scenarios import SCENARIOS
from tests.contract.topology import MODES, observe_topology
from tests.support.rabbitmq import RabbitMqNode

__all__ = ["FOLDER", "read_recording"]

FOLDER = Path(__file__).parent / "recordings" / "scenarios"


def read_recording(name: str) -> Any:
    """What the reference did in a scenario: an observation's JSON form."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def write_recording(name: str, content: Any) -> None:
    """Write one, in a form that is read and compared by line: one message a line."""
    if isinstance(content, dict) and "messages" in content:
        messages = ",\n    ".join(json.dumps(message, ensure_ascii=False) for message in content["messages"])
        others = {key: value for key, value in content.items() if key != "messages"}
        lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in others.items()]
        text = "{\n" + ",\n".join(lines) + f',\n  "messages": [\n    {messages}\n  ]\n}}\n'
    else:
        text = json.dumps(content, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
    (FOLDER / f"{name}.json").write_text(text, encoding="utf-8")


async def record(names: list[str]) -> None:
    """Record the named scenarios, or all."""
    FOLDER.mkdir(exist_ok=True)
    python = find_reference()
    node = RabbitMqNode()
    await asyncio.to_thread(node.start)
    try:
        for scenario in SCENARIOS:
            if not scenario.reference_races and (not names or scenario.name in names):
                try:
                    observation = await run_on_rabbitmq(node, scenario, reference=python)
                except AssertionError as error:
                    print(scenario.name, error, flush=True)
                    continue
                write_recording(scenario.name, observation.as_json())
                print(scenario.name, [message["routing_key"] for message in observation.messages], flush=True)
        for mode in MODES:
            if not names or f"topology_{mode}" in names:
                write_recording(f"topology_{mode}", await observe_topology(node, mode, reference=python))
                print(f"topology_{mode}", flush=True)
    finally:
        node.remove()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Record the reference's answers.")
    parser.add_argument("names", nargs="*", help="scenarios; all when none is named")
    asyncio.run(record(parser.parse_args().names))
