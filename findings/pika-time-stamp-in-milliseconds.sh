#!/usr/bin/env bash
# pika 1.4.4: a time stamp in a header (type T) is 64 bits, in seconds by the specification. Clients in other languages
# send milliseconds, and the broker passes them on. pika makes a datetime of the number while it reads the frame, and the
# ValueError that comes of it ends the connection: the message is delivered again, and ends the next one.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check pika==1.4.4
cat >"$folder/show.py" <<'PYTHON'
import struct

from pika import data

for name, number in [("seconds", 1_764_300_000), ("milliseconds", 1_764_300_000_000)]:
    entry = b"\x01hT" + struct.pack(">Q", number)
    try:
        table, _ = data.decode_table(struct.pack(">I", len(entry)) + entry, 0)
        print(name, table["h"].year)
    except ValueError:
        print(name, "ValueError")
PYTHON
"$folder/env/bin/python" "$folder/show.py" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
seconds 2025
milliseconds ValueError
SEEN
