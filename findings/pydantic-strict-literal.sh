#!/usr/bin/env bash
# pydantic 2.14.4: strict mode promises that nothing is converted. A union of a literal number and bool breaks it in one
# direction: JSON's true is taken by Literal[1], since Python's True equals 1, and false by Literal[0]; what arrives is
# the number. The order of the union does not matter for the number, and JSON's 1 never becomes True.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check pydantic==2.14.4
cat >"$folder/show.py" <<'PYTHON'
from typing import Literal

from pydantic import TypeAdapter

for name, hint in [("Literal[1] | bool", Literal[1] | bool), ("Literal[0] | bool", Literal[0] | bool), ("bool", bool)]:
    adapter = TypeAdapter(hint)
    print(name, [repr(adapter.validate_json(text, strict=True)) for text in ("true", "false")])
PYTHON
"$folder/env/bin/python" "$folder/show.py" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
Literal[1] | bool ['1', 'False']
Literal[0] | bool ['True', '0']
bool ['True', 'False']
SEEN
