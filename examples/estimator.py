"""Train with the SageMaker SDK's generic Estimator: here in containers, or with the same code on a GPU in AWS.

.venv/bin/python examples/estimator.py                               local mode; needs `make build demo-data`
.venv/bin/python examples/estimator.py --image URI --role ARN        one ml.g5.xlarge, on spot
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from launcher import check, estimator, upload  # noqa: E402

DATA = {name: ROOT / "build" / "demo" / name for name in ("train", "validation", "model")}
HYPERPARAMETERS = {"epochs": 1, "learning_rate": 1e-4, "max_data_rows": 400}


def main() -> None:
    """Check the data, train, and say where the model is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image", help="image in ECR, as `make push` prints it")
    parser.add_argument("--role", help="execution role of the job")
    options = parser.parse_args()

    report = check(data=DATA["train"], validation=DATA["validation"], hyperparameters=HYPERPARAMETERS)
    print("rows by channel:", {name: channel["rows"] for name, channel in report["channels"].items()})

    if options.image:
        aws = {"image": options.image, "role": options.role, "spot": True, "hyperparameters": HYPERPARAMETERS}
        job = estimator(instance_type="ml.g5.xlarge", **aws)
        job.fit(upload(data=DATA["train"], validation=DATA["validation"], model=DATA["model"], **aws))
    else:
        job = estimator(instance_type="local", hyperparameters=HYPERPARAMETERS)
        job.fit({name: f"file://{folder}" for name, folder in DATA.items()})
    print("model:", job.model_data)


if __name__ == "__main__":
    main()
