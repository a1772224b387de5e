"""build_and_push.sh against a registry behind a faulty proxy. PUSHES=100 for the long form."""

from __future__ import annotations

import contextlib
import os
import random
import time
import urllib.error

from .conftest import IMAGE, Checkout, Registry, docker
from .faulty_proxy import Proxy, in_front_of

NAME = "sagemaker-text-classification"
FAULTS = ("401", "429", "500", "503", "reset", "lost", "stall")
QUICK = {"PUSH_PAUSE_MILLISECONDS": "1"}


def fail_for_a_while(proxy: Proxy, fault: str, first: int, count: int) -> None:
    """Let `count` consecutive requests fail."""
    proxy.requests.clear()
    proxy.choose = lambda method, path: fault if first <= len(proxy.requests) < first + count else None


def digest_of(registry: Registry, tag: str) -> str | None:
    with contextlib.suppress(urllib.error.HTTPError):
        return registry.manifest(NAME, tag)[1]
    return None


def test_a_faulty_push_ends_right_or_changes_nothing(checkout: Checkout, registry: Registry) -> None:
    checkout.build()
    other = checkout.push("--registry", registry.host, "--tag", "occupied").stdout.strip().partition("@")[2]
    (checkout.path / "content").write_text("something else")
    checkout.commit()
    checkout.build()
    succeeded = 0
    with in_front_of(registry.host) as proxy:
        proxy.stall_seconds = 0.2
        for seed in range(int(os.environ.get("PUSHES", "7"))):
            order = random.Random(seed)
            fault, first, count = FAULTS[seed % len(FAULTS)], order.randrange(25), order.randrange(1, 8)
            tag = "occupied" if seed % 5 == 4 else f"tag-{seed}"
            fail_for_a_while(proxy, fault, first, count)
            pushed = checkout.push("--registry", proxy.host, "--tag", tag, **QUICK)
            case = f"seed {seed}: {count} x {fault} from request {first}: {pushed.stderr}"
            if tag == "occupied":
                assert pushed.returncode == 1, case
                assert digest_of(registry, tag) == other, case
            elif pushed.returncode == 0:
                assert pushed.stdout.strip().endswith(digest_of(registry, tag) or "none"), case
                succeeded += 1
            else:
                assert pushed.stdout == "", case
    print(f"{succeeded} pushes succeeded")
    assert succeeded >= 1


def test_a_push_whose_answer_is_lost_is_done(checkout: Checkout, registry: Registry) -> None:
    checkout.build()
    with in_front_of(registry.host) as proxy:
        proxy.fail_manifests("lost", times=1)
        pushed = checkout.push("--registry", proxy.host, "--tag", "lost", **QUICK)
    assert pushed.returncode == 0, pushed.stderr
    assert registry.manifest(NAME, "lost")[2]["config"]["digest"] == docker(
        "image", "inspect", "--format", "{{.Id}}", IMAGE
    )
    assert [method for method, path, _ in proxy.requests if "/manifests/lost" in path].count("PUT") == 1


def test_it_gives_up_after_five_tries(checkout: Checkout, registry: Registry) -> None:
    checkout.build()
    with in_front_of(registry.host) as proxy:
        proxy.fail_manifests("503", times=100)
        pushed = checkout.push("--registry", proxy.host, "--tag", "never", **QUICK)
    assert pushed.returncode == 1
    assert "503 Service Unavailable" in pushed.stderr.splitlines()[-1]
    assert proxy.met("503") == 5
    assert digest_of(registry, "never") is None


def test_a_push_that_stalls_is_tried_again(checkout: Checkout, registry: Registry) -> None:
    """Docker itself would wait forever."""
    checkout.build()
    with in_front_of(registry.host) as proxy:
        proxy.stall_seconds = 90
        proxy.fail_manifests("stall", times=1)
        pushed = checkout.push("--registry", proxy.host, "--tag", "stalled", PUSH_STALL_SECONDS="2", **QUICK)
    assert pushed.returncode == 0, pushed.stderr
    assert "docker push made no progress for 2 s and was ended. Retrying (1 of 4)." in pushed.stderr
    assert digest_of(registry, "stalled") == pushed.stdout.strip().partition("@")[2]


def test_a_registry_that_only_stalls_is_given_up(checkout: Checkout, registry: Registry) -> None:
    """`docker manifest` ignores SIGTERM, so that each of the five tries would take the ten seconds until SIGKILL."""
    watchdog = checkout.path / "launcher" / "push_watchdog.py"
    grace = "_GRACE_SECONDS = 10\n"
    assert grace in watchdog.read_text()
    watchdog.write_text(watchdog.read_text().replace(grace, "_GRACE_SECONDS = 1\n"))
    checkout.commit()
    checkout.build()
    start = time.monotonic()
    with in_front_of(registry.host) as proxy:
        proxy.stall_seconds = 90
        proxy.choose = lambda method, path: "stall"
        pushed = checkout.push("--registry", proxy.host, "--tag", "never-seen", PUSH_STALL_SECONDS="1", **QUICK)
    assert pushed.returncode == 1
    assert "docker manifest made no progress for 1 s and was ended" in pushed.stderr.splitlines()[-1]
    assert time.monotonic() - start < 60


def test_a_manifest_of_an_old_format_is_named(checkout: Checkout, registry: Registry) -> None:
    """The registry converts to schema 1 for clients that do not accept another format."""
    checkout.build()
    assert checkout.push("--registry", registry.host, "--tag", "old").returncode == 0
    with in_front_of(registry.host) as proxy:
        proxy.lost_headers = {"accept"}
        pushed = checkout.push("--registry", proxy.host, "--tag", "old", **QUICK)
    assert pushed.returncode == 1
    assert "has a manifest of an old format, or a proxy removes the header Accept" in pushed.stderr.splitlines()[-1]
