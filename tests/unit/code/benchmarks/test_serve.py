"""The benchmark of serve: all servers answer alike, and every request counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import serve, servers, weights

#: Those that need no packages besides the image's.
SERVERS = ("ours", "pipeline", "pipeline, batches of 32")


def test_all_servers_are_measured_with_the_same_requests(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(serve, "DEMO", tmp_path)
    (tmp_path / "model").symlink_to(tiny_model)
    (tmp_path / "train").mkdir()
    rows = "".join(f"{text}\tpositive\n" for text in ("good great", "bad", "fine lovely dull") * 9)
    (tmp_path / "train" / "reviews.tsv").write_text(f"text\tlabel\n{rows}")
    output = tmp_path / "serve.json"
    options = ["--clients", "1", "3", "--seconds", "0.2", "--rounds", "1", "--load", "0.5", f"--output={output}"]
    assert serve.main([*options, "--servers", *SERVERS]) == 0
    report = json.loads(output.read_text())["serving"]
    assert [(row["server"], row["clients"], row["load"]) for row in report["results"]] == [
        (server, clients, load) for clients in (1, 3) for load in (0.0, 0.5) for server in SERVERS
    ]
    for row in report["results"]:
        assert row["texts_per_second"] > 0 and row["p50_ms"] <= row["p95_ms"] and row["cpu_ms_per_text"] > 0
    assert set(report["start_seconds"]) == set(report["memory_mb"]) == set(SERVERS)
    assert capsys.readouterr().out.count("ours") >= 2


def test_an_answer_that_is_no_success_ends_the_benchmark(tmp_path: Path, tiny_model: Path) -> None:
    weights.write(tmp_path / "model", tiny_model, None)
    serve.complete(tmp_path / "model", 16)
    server = servers.Server("ours", servers.kinds(16)["ours"], tmp_path, 16)
    try:
        with pytest.raises(AssertionError, match="inputs"):
            serve.Run(server, [5], 1, 1, 0.0).measure()  # type: ignore[list-item]
    finally:
        server.process.kill()
        server.process.wait()
