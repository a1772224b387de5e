"""The keys of the public files are frozen for each version of the schema."""

from __future__ import annotations

import json
from pathlib import Path

from text_classifier.contract import schema
from tools.schema_tables import tables

#: The keys of each file and their types, by version.
FROZEN = Path(__file__).with_name(f"schema_{schema.SCHEMA_VERSION}.json")


def test_the_keys_are_those_of_this_version() -> None:
    """A new optional key may be added to the frozen file; anything else needs a new version and a new file."""
    found = {file: [f"{key}: {kind}" for key, kind, _ in rows] for file, rows in tables().items()}
    assert found == json.loads(FROZEN.read_text()), f"increase SCHEMA_VERSION, or add a new key to {FROZEN.name}"


def test_every_key_has_a_meaning() -> None:
    for file, rows in tables().items():
        assert len({key for key, _, _ in rows}) == len(rows)
        for key, _, meaning in rows:
            assert meaning and "\n" not in meaning and meaning != schema.UNDEFINED, (file, key)
