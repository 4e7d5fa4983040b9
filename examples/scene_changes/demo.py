"""``make demo-media``: generates a clip, lets the media worker find its cuts, and checks them."""

import json
import os
import subprocess
import sys
from pathlib import Path

from make_clip import cut_times_seconds, make_clip

HERE = Path(__file__).resolve().parent
DEMO_FOLDER = HERE.parents[1] / ".demo" / "scene_changes"
#: Half a frame: cuts are found to the frame.
TOLERANCE_SECONDS = 0.02


def main() -> int:
    """Make the clip, run the job, compare."""
    DEMO_FOLDER.mkdir(parents=True, exist_ok=True)
    clip, scenes, sheet = (DEMO_FOLDER / name for name in ("clip.mp4", "scenes.json", "scenes.png"))
    make_clip(clip)
    order = json.loads((HERE / "orders" / "clip.json").read_text(encoding="utf-8"))
    paths = {"source_path": clip, "destination_path": scenes, "contact_sheet_path": sheet}
    for parameter in order["parameters"]:
        if parameter["id"] in paths:
            parameter["value"] = str(paths[parameter["id"]])
        elif parameter["id"] == "requirements":
            parameter["value"] = {"paths": [str(clip)]}
    order_file = DEMO_FOLDER / "order.json"
    order_file.write_text(json.dumps(order), encoding="utf-8")
    environment = {**os.environ, "SOURCE_ORDERS": str(order_file)}
    worker = [sys.executable, "scene_changes_worker/worker.py"]
    if subprocess.run(worker, cwd=HERE, env=environment, check=False).returncode != 0:
        print("The job failed: see its log above.", file=sys.stderr)
        return 1
    batches = json.loads(scenes.read_text(encoding="utf-8"))["frames"]
    found = [cut["time_seconds"] for batch in batches for cut in batch["cuts"]]
    expected = cut_times_seconds()
    print(f"\nCuts found at    {found} s\nCuts in the clip {expected} s\nContact sheet: {sheet}")
    right = len(found) == len(expected) and all(
        abs(one - other) < TOLERANCE_SECONDS for one, other in zip(found, expected, strict=True)
    )
    print("All cuts are right." if right else "WRONG: the cuts differ.")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
