"""SageMaker Studio: where the engine sees files, and its network."""

import pytest
from sagemaker.local.utils import STUDIO_APP_TYPES

from launcher.local import engine, local_job, studio
from launcher.sdk import local_mode
from support.launching import fake_docker
from text_classifier.contract.errors import UserError

pytestmark = pytest.mark.usefixtures("no_aws")


@pytest.fixture
def metadata(monkeypatch, tmp_path):
    monkeypatch.setattr(studio, "METADATA", tmp_path / "resource-metadata.json")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return studio.METADATA


@pytest.mark.parametrize("app", STUDIO_APP_TYPES)
def test_in_studio_files_are_below_home_and_the_network_is_its_own(metadata, app):
    metadata.write_text(f'{{"AppType": "{app}", "DomainId": "d-1"}}')
    assert studio.network() == "--network=sagemaker"
    folder = studio.scratch("job-")
    assert folder.is_dir() and folder.parent == metadata.parent / "home" / "tmp"


@pytest.mark.parametrize("content", [None, '{"ResourceName": "a notebook instance"}', "", "[]"])
def test_elsewhere_nothing_changes(metadata, content):
    if content is not None:
        metadata.write_text(content)
    assert studio.network() == "--network=none"
    folder = studio.scratch("job-")
    folder.rmdir()
    assert metadata.parent / "home" not in folder.parents


def test_the_container_root_stays_where_the_sdk_replaces_it(metadata, monkeypatch):
    monkeypatch.setattr("sagemaker.local.utils.check_for_studio", lambda: True)
    from sagemaker.local.image import _SageMakerContainer

    monkeypatch.setattr(_SageMakerContainer, "_get_compose_cmd_prefix", staticmethod(lambda: ["true"]))
    session = local_mode.session(metadata.parent, {"a": "b"})
    container = _SageMakerContainer("local", 1, "image", session)
    assert container.is_studio and container._create_tmp_folder().startswith(f"{metadata.parent}/tmp")
    assert session.config["local"]["container_root"] == str(metadata.parent)


def test_several_containers_are_refused_before_training(metadata, monkeypatch, tmp_path):
    metadata.write_text('{"AppType": "JupyterLab"}')
    fake_docker(tmp_path / "bin", "*) exit 0 ;;")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    with pytest.raises(UserError, match="SageMaker Studio runs one container"):
        local_job.run(local_job.LocalJob("name", engine.LOCAL_IMAGE, {}, {}, instance_count=2))
