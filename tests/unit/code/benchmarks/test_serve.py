"""The benchmark of serve: both servers answer alike, and every request counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import serve, weights


def test_all_servers_are_measured_with_the_same_requests(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(serve, "DEMO", tmp_path)
    (tmp_path / "model").symlink_to(tiny_model)
    (tmp_path / "train").mkdir()
    rows = "".join(f"{text}\tpositive\n" for text in ("good great", "bad", "fine lovely dull") * 9)
    (tmp_path / "train" / "reviews.tsv").write_text(f"text\tlabel\n{rows}")
    output = tmp_path / "serve.json"
    assert serve.main(["--clients", "1", "3", "--seconds", "0.2", "--rounds", "1", f"--output={output}"]) == 0
    report = json.loads(output.read_text())
    assert [(row["server"], row["clients"]) for row in report["results"]] == [
        (server, clients) for clients in (1, 3) for server in serve.SERVERS
    ]
    for row in report["results"]:
        assert row["texts_per_second"] > 0 and row["p50_ms"] <= row["p95_ms"] and row["cpu_ms_per_text"] > 0
    assert set(report["start_seconds"]) == set(report["resident_mb"]) == set(serve.SERVERS)
    assert capsys.readouterr().out.count("ours") >= 2


def test_an_answer_that_is_no_success_ends_the_benchmark(tmp_path: Path, tiny_model: Path) -> None:
    weights.write(tmp_path / "model", tiny_model, None)
    serve.shorten(tmp_path / "model", 16)
    options = serve.arguments(["--tokens", "16"])
    server = serve.Server("ours", tmp_path, options)
    try:
        with pytest.raises(AssertionError, match="inputs"):
            serve.load(server, [5], 1, 1, 0.0)  # type: ignore[list-item]
    finally:
        server.process.kill()
        server.process.wait()
