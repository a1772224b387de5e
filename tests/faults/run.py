"""The long form of the container tests: many runs per promise, one line of figures each.

    python tests/faults/run.py --runs 200

200 stop signals, 400 kills, 100 full disks, and at most 30 of each slower fault. Needs the built image. Exits with 1 if
a promise was broken.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

sys.path.extend(map(str, Path(__file__).resolve().parents[1:3]))

from faults.bench import Bench, bench_of
from faults.ends import failing_hosts, failing_hosts_in_local_mode, hook_overhead, lost_hosts, mistakes, stop_signals
from faults.kills import full_disks, kills, kills_of_a_host

PROMISES: tuple[Callable[[Bench], None], ...] = (
    hook_overhead, mistakes, failing_hosts, failing_hosts_in_local_mode, lost_hosts, stop_signals,
    kills, kills_of_a_host, full_disks,
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description="Inject faults into training and check its promises.")
    parser.add_argument(
        "--runs", type=int, default=200, help="number of runs, at most 30 of slow faults (default: 200)"
    )
    parser.add_argument("--seed", type=int, default=int(datetime.now().timestamp()), help="seed of the random times")
    parser.add_argument("--only", choices=[promise.__name__ for promise in PROMISES], help="run one promise only")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with bench_of(options.runs, options.seed) as bench:
        for promise in PROMISES:
            if options.only in (None, promise.__name__):
                promise(bench)
    return 0 if bench.is_kept else 1


if __name__ == "__main__":
    sys.exit(main())
