#!/usr/bin/env bash
# pika 1.4.4: AMQP 0-9-1 as RabbitMQ speaks it has floats (f) and doubles (d) in header tables. pika reads both as whole
# numbers, without a word, and cannot write a float at all; so a worker that sends a copy of a message with its headers
# changes them, or fails.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check pika==1.4.4
cat >"$folder/show.py" <<'PYTHON'
import struct

from pika import data, exceptions

for kind, form in [("d", ">d"), ("f", ">f")]:
    entry = b"\x01h" + kind.encode() + struct.pack(form, 1.5)
    table, _ = data.decode_table(struct.pack(">I", len(entry)) + entry, 0)
    print(kind, int(table["h"]), table["h"] == 1.5)
try:
    data.encode_table([], {"h": 1.5})
    print("written")
except exceptions.UnsupportedAMQPFieldException:
    print("cannot be written")
PYTHON
"$folder/env/bin/python" "$folder/show.py" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
d 1 False
f 1 False
cannot be written
SEEN
