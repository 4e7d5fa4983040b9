#!/usr/bin/env bash
# pydantic 2.14.4: a default_factory may take the fields that were validated before its own. In a dataclass with
# kw_only=True, fields written with Field(...) are validated before those that are only annotated, whatever the order of
# the lines and of the signature says: the same two fields work in a model, in an ordinary dataclass, and where both are
# written with Field(...), and end in a KeyError where only the second is.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check pydantic==2.14.4
cat >"$folder/show.py" <<'PYTHON'
import inspect

from pydantic import BaseModel, Field
from pydantic.dataclasses import dataclass


class Model(BaseModel):
    width: int = 1
    height: int = Field(default_factory=lambda data: data["width"] * 2)


@dataclass
class Ordinary:
    width: int = 1
    height: int = Field(default_factory=lambda data: data["width"] * 2)


@dataclass(kw_only=True)
class BothFields:
    width: int = Field(default=1)
    height: int = Field(default_factory=lambda data: data["width"] * 2)


@dataclass(kw_only=True)
class OneField:
    width: int = 1
    height: int = Field(default_factory=lambda data: data["width"] * 2)


for kind in (Model, Ordinary, BothFields, OneField):
    order = list(inspect.signature(kind).parameters)
    try:
        print(kind.__name__, order, kind(width=5).height)
    except KeyError as error:
        print(kind.__name__, order, "KeyError", error)
PYTHON
"$folder/env/bin/python" "$folder/show.py" | tee "$folder/seen"
diff "$folder/seen" - <<'SEEN'
Model ['width', 'height'] 10
Ordinary ['width', 'height'] 10
BothFields ['width', 'height'] 10
OneField ['width', 'height'] KeyError 'width'
SEEN
