"""The rules of the jobs' network as text."""

from __future__ import annotations

from toolkit_spawner import network_rules
from toolkit_spawner.launch import JobNetwork

NETWORK = JobNetwork(name="n", bridge="tk-0123456789ab", instance="i")
HOOKS = """\
-A INPUT -i tk-0123456789ab -j TOOLKIT-HOST-0123456789ab
-A DOCKER-USER -o tk-0123456789ab -j TOOLKIT-JOBS-0123456789ab
-A DOCKER-USER -i tk-0123456789ab -j TOOLKIT-JOBS-0123456789ab
"""


def rules(**changes: object) -> list[str]:
    return network_rules.rules(NETWORK.model_copy(update=changes), "172.20.0.1", ["10.0.0.53"], "DROP")


def test_names_fit_the_kernels_limits() -> None:
    assert len(NETWORK.bridge) <= 15
    assert all(len(chain) <= 28 for chain in network_rules.chain_names(NETWORK.bridge))


def test_the_last_word_to_the_machine_is_no() -> None:
    host = [rule for rule in rules() if rule.startswith("-A TOOLKIT-HOST-")]
    assert host[-1].endswith("-j DROP")
    assert [
        rule for rule in host[:-1] if "ESTABLISHED" not in rule and "RELATED" not in rule and "--dport 53" not in rule
    ] == []


def test_neighbours_come_before_replies() -> None:
    assert rules()[0] == "-A TOOLKIT-JOBS-0123456789ab -i tk-0123456789ab -o tk-0123456789ab -j DROP"


def test_no_way_out_means_no_name_server_either() -> None:
    closed = rules(internet=False)
    assert not any("--dport 53" in rule for rule in closed)
    assert [rule for rule in closed if "JOBS" in rule][-1] == "-A TOOLKIT-JOBS-0123456789ab -j DROP"


def test_the_job_api_is_open_on_the_bridges_own_address_only() -> None:
    assert not any("--dport 8100" in rule for rule in rules())
    assert "-A TOOLKIT-HOST-0123456789ab -d 172.20.0.1/32 -p tcp --dport 8100 -j ACCEPT" in rules(api_port=8100)


def test_denied_networks() -> None:
    assert "-A TOOLKIT-JOBS-0123456789ab -d 10.0.0.0/8 -j DROP" in rules(denied=["10.0.0.0/8"])


def test_rules_are_in_force_only_where_nothing_comes_before_them() -> None:
    others = "-A INPUT -i tk-other -j TOOLKIT-HOST-other\n"
    assert network_rules.is_in_force(NETWORK.bridge, "DOCKER-USER", others + HOOKS)
    assert not network_rules.is_in_force(NETWORK.bridge, "FORWARD", HOOKS)
    assert not network_rules.is_in_force(NETWORK.bridge, "DOCKER-USER", "-A INPUT -j ACCEPT\n" + HOOKS)
    assert not network_rules.is_in_force(NETWORK.bridge, "DOCKER-USER", "")


def test_hooks_are_moved_to_the_top_in_one_step() -> None:
    script = network_rules.restore_script(NETWORK.bridge, rules(), "DOCKER-USER", HOOKS)
    lines = script.splitlines()
    assert lines[0] == "*filter"
    assert lines[-1] == "COMMIT"
    assert "-D INPUT -i tk-0123456789ab -j TOOLKIT-HOST-0123456789ab" in lines
    assert "-I INPUT 1 -i tk-0123456789ab -j TOOLKIT-HOST-0123456789ab" in lines


def test_removal_takes_a_sites_own_and_leaves_others() -> None:
    saved = (
        ":TOOLKIT-HOST-0123456789ab - [0:0]\n:TOOLKIT-JOBS-0123456789ab - [0:0]\n"
        "-A INPUT -i tk-other -j TOOLKIT-HOST-other\n" + HOOKS
    )
    script = network_rules.removal(NETWORK.bridge, saved)
    assert "other" not in script
    assert script.count("-D ") == 3
    assert network_rules.removal(NETWORK.bridge, "") == ""
