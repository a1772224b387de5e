"""Which files of a data folder are uploaded."""

from __future__ import annotations

from launcher.plan.channels import Channel, files_of, needed_files


def test_what_training_passes_over_is_not_uploaded(tmp_path):
    kept = ["day=1/part-0.csv", "part-1.parquet"]
    for name in [*kept, "_SUCCESS", ".part-0.csv.crc", "_temporary/0/part-9.csv", "README.md", "Thumbs.db"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("text,label\n")
    (tmp_path / "train_$folder$").touch()
    (tmp_path / "empty.csv").touch()
    assert sorted(needed_files(tmp_path)) == kept
    assert sorted(files_of(tmp_path / "README.md")) == sorted(needed_files(tmp_path / "README.md")) == ["README.md"]
    before = Channel.from_files(needed_files(tmp_path)).content_hash
    (tmp_path / "_SUCCESS").unlink()
    assert Channel.from_files(needed_files(tmp_path)).content_hash == before
