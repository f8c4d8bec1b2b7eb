"""The tables of servers and scenarios fit each other."""

from pathlib import Path

import pytest

from benchmarks.environments import Places
from benchmarks.scenarios import BEST, SCENARIOS
from benchmarks.servers import SERVERS, Launch

PLACES = Places(Path("/somewhere"))


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("name", SERVERS)
def test_every_command_says_port_and_target_and_certificate(name, tls):
    server = SERVERS[name]
    launch = Launch(PLACES, 4321, server.target or "some.where:application", tls)
    command = server.command(launch)
    words = " ".join(command)
    assert "4321" in words
    assert (launch.target in command) or name == "bound"
    assert (str(PLACES.certificate) in words and str(PLACES.key) in words) == tls
    if server.environment != "this":
        assert command[0].startswith(f"/somewhere/{server.environment}/bin/")


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_names_servers_that_there_are_and_goals_for_its_peers(name):
    scenario = SCENARIOS[name]
    assert set(scenario.servers) <= SERVERS.keys()
    assert {goal.peer for goal in scenario.goals} <= {*scenario.servers[1:], BEST}
    assert scenario.figure in ("cpu", "held")
