"""build_and_push.sh against a real registry."""

from __future__ import annotations

import re

import pytest

from .conftest import IMAGE, Checkout, Registry, assert_one_sentence, docker

NAME = "sagemaker-text-classification"
DOCKER_V2 = "application/vnd.docker.distribution.manifest.v2+json"
OCI = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"


def test_push_prints_the_uri_by_digest_and_nothing_else(checkout: Checkout, registry: Registry) -> None:
    checkout.build()
    pushed = checkout.push("--registry", registry.host)
    assert pushed.returncode == 0, pushed.stderr
    assert re.fullmatch(rf"{registry.host}/{NAME}@sha256:[0-9a-f]{{64}}\n", pushed.stdout)

    media_type, digest, manifest = registry.manifest(NAME, checkout.head)
    assert media_type == manifest["mediaType"] == DOCKER_V2
    assert pushed.stdout.strip().endswith(digest)
    assert manifest["config"]["digest"] == docker("image", "inspect", "--format", "{{.Id}}", IMAGE)


def test_what_was_pushed_can_be_pulled_by_the_printed_uri(checkout: Checkout, registry: Registry) -> None:
    checkout.build()
    uri = checkout.push("--registry", registry.host).stdout.strip()
    built = docker("image", "inspect", "--format", "{{.Id}}", IMAGE)
    docker("image", "rm", "--force", built)
    docker("pull", "--quiet", uri)
    assert docker("image", "inspect", "--format", "{{.Id}} {{.Os}}/{{.Architecture}}", uri) == f"{built} linux/amd64"


def test_second_push_of_the_same_image_succeeds(checkout: Checkout, registry: Registry) -> None:
    checkout.build()
    first = checkout.push("--registry", registry.host)
    second = checkout.push("--registry", registry.host)
    assert second.returncode == 0
    assert second.stdout == first.stdout
    assert "is already this image" in second.stderr


def test_tag_of_another_image_is_not_moved(checkout: Checkout, registry: Registry) -> None:
    checkout.build()
    first = checkout.push("--registry", registry.host, "--tag", "taken")
    assert first.returncode == 0, first.stderr
    (checkout.path / "content").write_text("something else")
    checkout.commit()
    checkout.build()
    second = checkout.push("--registry", registry.host, "--tag", "taken")
    assert_one_sentence(second, "is already another image")
    assert first.stdout.strip().endswith(registry.manifest(NAME, "taken")[1])


def test_repository_and_tag_can_be_chosen(checkout: Checkout, registry: Registry) -> None:
    checkout.build()
    pushed = checkout.push("--registry", registry.host, "--repository", "team/classifier", "--tag", "v1.2")
    assert pushed.stdout.startswith(f"{registry.host}/team/classifier@sha256:")
    assert "v1.2" in registry.tags("team/classifier")


def test_changed_checkout_is_refused(checkout: Checkout, registry: Registry) -> None:
    checkout.build()
    (checkout.path / "forgotten.py").write_text("")
    assert_one_sentence(checkout.push("--registry", registry.host), "uncommitted changes", "--allow-dirty")


def test_image_of_an_older_commit_is_refused(checkout: Checkout, registry: Registry) -> None:
    checkout.build()
    built_from = checkout.head
    (checkout.path / "content").write_text("newer")
    checkout.commit()
    assert_one_sentence(checkout.push("--registry", registry.host), f"was built from {built_from}", "build")


def test_image_built_from_changes_is_refused_after_they_are_gone(checkout: Checkout, registry: Registry) -> None:
    (checkout.path / "content").write_text("not committed")
    checkout.build()
    checkout.git("checkout", "--quiet", "content")
    assert_one_sentence(checkout.push("--registry", registry.host), "-dirty")


def test_allow_dirty_says_so_in_the_tag(checkout: Checkout, registry: Registry) -> None:
    for content in ("first try", "second try"):
        (checkout.path / "content").write_text(content)
        checkout.build()
        pushed = checkout.push("--registry", registry.host, "--allow-dirty")
        assert pushed.returncode == 0, pushed.stderr
    tags = [tag for tag in registry.tags(NAME) if tag.startswith(f"{checkout.head}-dirty-")]
    assert len(tags) == 2


@pytest.mark.parametrize(("media_type", "part"), [(OCI, "containerd image store"), (OCI_INDEX, "index")])
def test_manifest_that_sagemaker_rejects_is_an_error(
    checkout: Checkout, registry: Registry, media_type: str, part: str
) -> None:
    checkout.build()
    checkout.push("--registry", registry.host)
    pushed_type, digest, manifest = registry.manifest(NAME, checkout.head)
    if media_type == OCI_INDEX:
        platform = {"os": "linux", "architecture": "amd64"}
        entry = {"mediaType": pushed_type, "digest": digest, "size": 1, "platform": platform}
        manifest = {"schemaVersion": 2, "manifests": [entry]}
    else:
        manifest["config"]["mediaType"] = "application/vnd.oci.image.config.v1+json"
        for layer in manifest["layers"]:
            layer["mediaType"] = "application/vnd.oci.image.layer.v1.tar+gzip"
    tag = media_type.split(".")[-2]
    registry.put_manifest(NAME, f"{tag}-{checkout.head}", media_type, manifest)
    answer = checkout.push("--registry", registry.host, "--tag", f"{tag}-{checkout.head}")
    assert_one_sentence(answer, part, "SageMaker may reject")


def test_registry_that_does_not_answer(checkout: Checkout, closed_port: int) -> None:
    checkout.build()
    assert_one_sentence(checkout.push("--registry", f"127.0.0.1:{closed_port}"), "does not respond", "check its name")


def test_registry_that_wants_a_login(checkout: Checkout, login_registry: Registry) -> None:
    checkout.build()
    refused = checkout.push("--registry", login_registry.host)
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert "login" in refused.stderr or "no basic auth credentials" in refused.stderr
