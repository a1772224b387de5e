"""Each way in which two images can differ shows."""

from __future__ import annotations

import pytest

from tools.compare_builds import Entry, differences

FILES: dict[str, Entry] = {"bin/a": (0o755, 3, "aa"), "etc/b": (0o644, 3, "bb")}


def test_the_same_files_do_not_differ() -> None:
    assert differences(FILES, dict(FILES)) == []


@pytest.mark.parametrize("entry", [(0o4755, 3, "aa"), (0o755, 4, "aa"), (0o755, 3, "ab")])
def test_a_mode_a_size_or_a_content_shows(entry: Entry) -> None:
    assert differences(FILES, FILES | {"bin/a": entry}) == ["bin/a"]


def test_a_file_more_or_less_shows() -> None:
    more = FILES | {"tmp/c": (0o644, 0, "")}
    assert differences(FILES, more) == differences(more, FILES) == ["tmp/c"]
