"""The Estimator of local mode for Python: it removes what the SDK leaves behind after each `fit`."""

from __future__ import annotations

import argparse
from typing import Any

from launcher.local import engine, local_job, studio
from launcher.plan import request, submission
from launcher.sdk import estimators, local_mode
from text_classifier.contract.errors import UserError


class LocalEstimator(estimators.Estimator):
    """An Estimator whose `fit` runs in containers on this machine."""

    def fit(self, inputs: Any = None, wait: bool = True, logs: str = "All", job_name: str | None = None) -> None:
        """Train on `file://` folders and print the log. Raises what the SDK raises when the job fails."""
        self._prepare_for_training(job_name=job_name)
        name, image = str(self._current_job_name), str(self.image_uri)
        scratch = studio.scratch("sagemaker-local-")
        self.sagemaker_session.config = local_mode.settings(scratch, {engine.JOB_LABEL: name})
        try:
            engine.require_shared(scratch, image)
            project = engine.compose_project(name)
            with (
                engine.compose_for_sdk() as variables,
                local_job.environment(COMPOSE_PROJECT_NAME=project, **variables),
            ):
                super().fit(inputs, wait=wait, logs=logs, job_name=name)
        finally:
            engine.remove_job(name)
            engine.delete_tree(scratch, image)


def create(options: argparse.Namespace) -> LocalEstimator:
    """The Estimator of checked options for this machine. Its results go to build/local/NAME/. Raises UserError."""
    if options.spot or options.keep_alive:
        raise UserError(f"instance_type={options.instance_type} has neither spot instances nor warm pools; remove them")
    studio.require_one_container(options.instance_count)
    folder = local_job.RUNS / submission.job_name(options)
    folder.mkdir(parents=True, exist_ok=True)
    job = request.create_training_job(
        name=folder.name,
        image=options.image,
        role=local_mode.LOCAL_ROLE,
        inputs={},
        output=f"file://{folder}",
        hyperparameters=options.hyperparameters,
        instance_type=options.instance_type,
        instance_count=options.instance_count,
        environment=dict(options.environment or ()),
    )
    session = local_mode.session(folder, {})
    return estimators.from_request(job, session, LocalEstimator, base_job_name=options.base_job_name)
