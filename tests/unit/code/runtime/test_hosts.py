from __future__ import annotations

import socket

import pytest

from text_classifier.contract.errors import PlatformError, SettingsError
from text_classifier.runtime import hosts as module
from text_classifier.runtime.hosts import Hosts, interface_to, require_equal_gpus

TWO = {"hosts": ["algo-2", "algo-1"], "current_host": "algo-2"}


def test_hosts_order_by_number() -> None:
    names = [f"algo-{n}" for n in (10, 2, 1, 11, 3)]
    hosts = Hosts.from_resources({"hosts": names, "current_host": "algo-10", "network_interface_name": "lo"})
    assert hosts.names == ("algo-1", "algo-2", "algo-3", "algo-10", "algo-11")
    (first, second) = hosts.environments(2)
    assert (first["RANK"], second["RANK"]) == ("6", "7")
    assert (first["LOCAL_RANK"], second["LOCAL_RANK"]) == ("0", "1")
    assert first["WORLD_SIZE"] == "10"
    assert first["MASTER_ADDR"] == "algo-1"
    assert [hosts.of_rank(rank, 10) for rank in (0, 1, 2, 7, 9)] == ["algo-1", "algo-1", "algo-2", "algo-10", "algo-11"]


def test_without_resources_there_is_one_host() -> None:
    (environment,) = Hosts.from_resources({}).environments(1)
    assert (environment["RANK"], environment["WORLD_SIZE"], environment["MASTER_ADDR"]) == ("0", "1", "127.0.0.1")


def test_the_users_number_of_threads_wins_and_ranks_are_the_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "77")
    environment, _ = Hosts.from_resources({}).environments(2)
    assert environment["OMP_NUM_THREADS"] == "77"
    assert "77" not in {environment[name] for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")}


def test_a_host_that_never_appears_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "START_SECONDS", 0.1)
    hosts = Hosts.from_resources({"hosts": ["localhost", "nowhere.invalid"], "current_host": "localhost"})
    with pytest.raises(PlatformError, match="host nowhere.invalid did not join within 0.1 s; look at its log"):
        hosts.wait_for_names(lambda: False)
    hosts.wait_for_names(lambda: True)


def test_the_named_interface_is_taken_where_it_exists() -> None:
    assert Hosts.from_resources(TWO | {"network_interface_name": "lo"}).reachable_interface("127.0.0.1") == ("lo", None)


def test_another_one_is_found_by_the_route_with_a_warning() -> None:
    interface, warning = Hosts.from_resources(TWO | {"network_interface_name": "eth77"}).reachable_interface(
        "127.0.0.1"
    )
    assert interface == "lo"
    assert warning is not None and warning.startswith("WARNING: the network interface 'eth77' of resourceconfig.json")
    assert Hosts.from_resources(TWO).reachable_interface("127.0.0.1") == ("lo", None)


def test_the_interface_of_this_machines_own_name_exists() -> None:
    assert interface_to(socket.gethostname()) in {name for _, name in socket.if_nameindex()}


def test_one_host_listens_on_loopback_and_several_on_the_interface_between_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert Hosts.from_resources({}).listening_address() == "127.0.0.1"
    assert Hosts.from_resources({}).reachable_interface("127.0.0.1") == ("lo", None)

    def address(interface: str, **names: str) -> str:
        def resolved(name: str, *_: object) -> list[object]:
            if name not in names:
                raise socket.gaierror("not known")
            return [(socket.AF_INET, 1, 6, "", (names[name], 0))]

        monkeypatch.setattr(module.socket, "getaddrinfo", resolved)
        listed = {"current_host": "me", "hosts": ["me", "other"], "network_interface_name": interface}
        return Hosts.from_resources(listed).listening_address()

    monkeypatch.setattr(module, "_addresses_of", lambda name: ["10.0.0.1", "10.0.0.2"] if name == "lo" else [])
    assert address("lo", me="10.0.0.2") == "10.0.0.2"
    assert address("lo", me="127.0.1.1") == "10.0.0.1"
    assert address("lo", me="10.9.9.9") == ""  # an address of another interface
    assert address("lo") == ""


@pytest.mark.parametrize(
    ("types", "is_equal"),
    [
        (["ml.g5.xlarge"], True), (["ml.g5.xlarge", "ml.g5.2xlarge"], True), (["ml.c5.xlarge", "ml.m5.large"], True),
        (["ml.p9.huge", "ml.p9.huge"], True), (["ml.p4d.24xlarge", "ml.p5.48xlarge"], True),
        (["ml.g5.xlarge", "ml.c5.xlarge"], False), (["ml.g5.24xlarge", "ml.p4d.24xlarge"], False),
        (["ml.p9.huge", "ml.g5.xlarge"], False),
    ],
)  # fmt: skip
def test_hosts_with_different_numbers_of_gpus_are_refused(types: list[str], is_equal: bool) -> None:
    groups = [
        {"instance_group_name": f"g{i}", "instance_type": kind, "hosts": [f"algo-{i}"]} for i, kind in enumerate(types)
    ]
    if is_equal:
        require_equal_gpus({"instance_groups": groups})
        return
    with pytest.raises(SettingsError, match="the instance groups have different numbers of GPUs \\(g0: ml"):
        require_equal_gpus({"instance_groups": groups})
