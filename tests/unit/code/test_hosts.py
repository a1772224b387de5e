from __future__ import annotations

from hosts import Hosts


def test_hosts_order_by_number() -> None:
    names = [f"algo-{n}" for n in (10, 2, 1, 11, 3)]
    hosts = Hosts.from_resources({"hosts": names, "current_host": "algo-10", "network_interface_name": "lo"})
    assert hosts.names == ("algo-1", "algo-2", "algo-3", "algo-10", "algo-11")
    (first, second) = hosts.environments(2)
    assert (first["RANK"], second["RANK"]) == ("6", "7")
    assert (first["LOCAL_RANK"], second["LOCAL_RANK"]) == ("0", "1")
    assert first["WORLD_SIZE"] == "10"
    assert first["MASTER_ADDR"] == "algo-1"
    assert first["GLOO_SOCKET_IFNAME"] == "lo"


def test_an_interface_that_does_not_exist_is_left_to_the_library() -> None:
    resources = {"hosts": ["a", "b"], "current_host": "a", "network_interface_name": "eth77"}
    assert "GLOO_SOCKET_IFNAME" not in Hosts.from_resources(resources).environments(1)[0]


def test_without_resources_there_is_one_host() -> None:
    (environment,) = Hosts.from_resources({}).environments(1)
    assert (environment["RANK"], environment["WORLD_SIZE"], environment["MASTER_ADDR"]) == (
        "0",
        "1",
        "127.0.0.1",
    )
