"""What h2load's report means."""

import pytest

from benchmarks.load.h2load import H2Load, load_from, read_latencies
from benchmarks.load.outcome import Target

REPORT = """\
starting benchmark...
Application protocol: {protocol}
progress: 100% of clients started

finished in 2.50s, 400.00 req/s, 9.60KB/s
{requests} {succeeded} succeeded, {failed} failed, {failed} errored, 0 timeout
status codes: {good} 2xx, 0 3xx, 0 4xx, {bad} 5xx
traffic: 23.44KB (24000) total, 5.86KB (6000) headers (space savings 90.00%), 12.70KB ({data}) data
"""


def report(protocol="h2c", succeeded=1000, failed=0, good=1000, bad=0, data=13_000):
    requests = "requests: 1000 total, 1128 started, 1000 done,"
    return REPORT.format(
        requests=requests,
        protocol=protocol,
        succeeded=succeeded,
        failed=failed,
        good=good,
        bad=bad,
        data=data,
    )


def test_a_load_without_a_fault():
    load = load_from(report(), 13, [0.001, 0.002, 0.003], 128)
    assert (load.units, load.seconds, load.rate, load.p50, load.problems) == (1000, 2.5, 400.0, 0.002, [])


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (report(failed=2), "2 failed"),
        (report(good=990, bad=10), "10 5xx"),
        (report(data=12_999), "12999 bytes of data"),
        (report(protocol="http/1.1"), "the protocol was http/1.1"),
        (report(succeeded=0, good=0, data=0), "0 succeeded"),
        ("could not connect to host", "h2load said"),
    ],
)
def test_a_fault_is_a_problem(output, said):
    assert any(said in problem for problem in load_from(output, 13, [], 128).problems)


def test_latencies_come_from_the_log(tmp_path):
    log = tmp_path / "log"
    assert read_latencies(log) == []
    log.write_text("1400000000000000\t200\t1500\n1400000000000001\t200\t20\n")
    assert read_latencies(log) == [0.0015, 0.00002]


def test_the_command_has_the_shape_of_the_load(tmp_path):
    command = H2Load(expected=b"").command(Target(99, tls=True), 2.0, tmp_path / "log")
    assert {"-c8", "-m16"} <= set(command) and command[-1] == "https://127.0.0.1:99/"
