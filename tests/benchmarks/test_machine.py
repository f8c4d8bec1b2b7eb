"""What is read from /proc: on a folder made like it, and on this very process."""

import os

import pytest

from benchmarks import machine

STAT = "{pid} ({name}) S {parent} 1 1 0 -1 4194560 500 0 0 0 {ticks} 20 0 1 0 99\n"


@pytest.fixture
def proc(tmp_path):
    def add(pid, parent, ticks, name="server", pss=0, rss=0, peak=0):
        folder = tmp_path / str(pid)
        folder.mkdir()
        ticks = " ".join(map(str, ticks))
        stat = STAT.format(pid=pid, name=name, parent=parent, ticks=ticks)
        (folder / "stat").write_text(stat)
        rollup = f"0-1 ---p 00000000 00:00 0   [rollup]\nRss: {rss:9} kB\nPss: {pss:9} kB\nPss_Dirty: 1 kB\n"
        (folder / "smaps_rollup").write_text(rollup)
        (folder / "status").write_text(f"Name:\t{name}\nVmHWM:\t{peak} kB\nThreads:\t1\n")
        (folder / "clear_refs").write_text("")

    add(10, 1, (100, 20, 3, 4), pss=1000, rss=1500, peak=2000)
    add(11, 10, (10, 0, 0, 0), name="a (very) odd) name", pss=100, rss=150, peak=300)
    add(12, 11, (0, 7, 0, 0), pss=10, rss=15, peak=15)
    add(13, 1, (5000, 5000, 0, 0), pss=77777, rss=77777, peak=77777)
    (tmp_path / "cpuinfo").write_text("processor: 0\n")
    return tmp_path


def test_the_tree_is_the_process_its_children_and_theirs(proc):
    assert sorted(machine.process_tree(10, proc)) == [10, 11, 12]


def test_the_tree_of_a_process_that_is_gone_is_empty(proc):
    assert machine.process_tree(99, proc) == {}


def test_cpu_time_counts_user_and_system_of_the_tree_and_of_its_dead_children(proc):
    assert machine.cpu_seconds(10, proc) * machine.TICKS_PER_SECOND == pytest.approx(
        100 + 20 + 3 + 4 + 10 + 7
    )


def test_memory_is_summed_over_the_tree_in_bytes(proc):
    assert machine.memory(10, proc) == machine.Memory(pss=1110 * 1024, rss=1665 * 1024)


def test_the_peak_is_reset_and_read_for_the_whole_tree(proc):
    machine.reset_peak(10, proc)
    assert [(proc / pid / "clear_refs").read_text() for pid in ("10", "11", "12", "13")] == [
        "5",
        "5",
        "5",
        "",
    ]
    assert machine.peak_rss(10, proc) == 2315 * 1024


def test_this_process_is_found_in_the_real_proc():
    this = machine.process_tree(os.getpid())
    assert os.getpid() in this
    assert this[os.getpid()].parent == os.getppid()
    spent = sum(os.times()[:4])
    assert machine.cpu_seconds(os.getpid()) >= spent - 2 / machine.TICKS_PER_SECOND
    assert machine.memory(os.getpid()).rss > 1_000_000
