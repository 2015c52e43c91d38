"""Many rounds, as the bench of faults watches them, and that it sees what grows."""

from benchmarks.faults import long_run
from benchmarks.faults.finding import Bench
from benchmarks.faults.long_run import Sample


def test_nothing_grows(finished, tmp_path):
    (tmp_path / "finished").symlink_to(finished[0])
    finding = long_run.long_run(Bench(tmp_path, seed=0, tries=1), rounds=40)
    assert finding.faults == []
    assert finding.tried == 1


def test_what_grows_is_found_out():
    def found(memory=0, files=0, threads=0, log="a round", code=0):
        """Of a run of 30 rounds in which each round adds something."""
        samples = [Sample(n, 10**8 + n * memory, 5 + n * files, 2 + n * threads) for n in range(1, 31)]
        return [fault.split(" grew")[0] for fault in long_run.finding(30, code, samples, log * 30).faults]

    assert found() == []
    assert found(memory=2 * 10**6) == ["memory"]
    assert found(files=1) == ["files"]
    assert found(threads=1) == ["threads"]
    assert found(log="a" * 1000) == ["the log has 30,000 bytes"]
    assert found(code=2)[0].startswith("exit code 2")


def test_what_comes_and_goes_is_no_growth():
    samples = [Sample(n, 10**8, 5 + (n == 28), 2 + (n > 28)) for n in range(1, 31)]
    assert long_run.finding(30, 0, samples, "a round" * 30).faults == []
