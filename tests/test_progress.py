"""How far the work is, on a terminal and in a log."""

import itertools
import os
import pty
import re
import subprocess
import sys

import pytest
from clones import ROOT, clean_environment
from conftest import changed, working

from pipeline.fixing.rounds import fix_network
from pipeline.training import checkpoint
from pipeline.training.loop import pretrain
from pipeline.watching import progress
from pipeline.watching.progress import Steps, duration


def run_on_terminal(program):
    parent, child = pty.openpty()
    environment = clean_environment() | {"TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stderr=child, env=environment) as process:
        os.close(child)
        shown = b""
        while True:
            try:
                part = os.read(parent, 4096)
            except OSError:
                break
            if not part:
                break
            shown += part
        assert process.wait() == 0
    os.close(parent)
    return shown.decode()


STEPS = (
    "from pipeline.watching.progress import Steps\nimport time\n"
    "with Steps('fix', 4) as steps:\n"
    "    for i in range(4): steps.advance(); time.sleep(0.2)\n"
    "    steps.say('round 1 is done')\n"
)


def test_progress_on_a_terminal_and_in_a_log():
    shown = run_on_terminal(STEPS)
    assert "━" in shown
    assert re.search("[123]/4", shown)
    assert "round 1 is done" in shown
    logged = subprocess.run([sys.executable, "-c", STEPS], cwd=ROOT, capture_output=True, text=True, check=True)
    assert logged.stderr == "round 1 is done\n"  # no line of its own within half a minute


def test_further_processes_say_nothing(capsys):
    with Steps("fix", 4, quiet=True) as steps:
        steps.advance()
        steps.say("round 1 is done")
    assert capsys.readouterr().err == ""


class Clock:
    """Stands for time.monotonic."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress.time, "monotonic", clock)
    return clock


def lines_of(clock, capsys, total, seconds_each):
    """What a log shows while so many steps are made, each with the second in which it came."""
    shown = []
    with Steps("data: images", total) as steps:
        for _ in range(total):
            clock.now += seconds_each
            steps.advance()
            shown += [(clock.now, line) for line in capsys.readouterr().err.splitlines()]
    return shown


def test_a_log_says_how_far_many_images_are(clock, capsys):
    shown = lines_of(clock, capsys, 60_000, 0.01)  # ten minutes: every 10 %
    left = ["9 min", "8 min", "7 min", "6 min", "5 min", "4 min", "3 min", "2 min", "60 s"]
    expected = [f"data: images: {6 * n},000/60,000, about {each} left" for n, each in enumerate(left, 1)]
    assert [line for _, line in shown] == expected


@pytest.mark.parametrize(("total", "seconds_each"), [(100, 0.25), (100, 1.0), (1000, 0.2), (100_000, 0.5), (7, 400.0)])
def test_a_log_is_neither_silent_nor_flooded(clock, capsys, total, seconds_each):
    """Two lines are half a minute apart at least, and five minutes, or a step, at most."""
    shown = lines_of(clock, capsys, total, seconds_each)
    times = [0.0, *(when for when, _ in shown)]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert all(gap >= 30 for gap in gaps)
    assert all(gap <= max(300, seconds_each) + seconds_each for gap in gaps)
    assert total * seconds_each - times[-1] <= max(300, seconds_each) + seconds_each
    assert bool(shown) == (total * seconds_each > 30)


def test_a_line_of_the_work_counts_as_one_of_the_log(clock, capsys):
    with Steps("fix", 10) as steps:
        for number in range(10):
            clock.now += 40
            steps.say(f"epoch {number}")
            steps.advance()
    assert capsys.readouterr().err.splitlines() == [f"epoch {number}" for number in range(10)]


def test_the_time_left_is_that_of_steps_made_here(clock):
    """Of 100 steps an earlier process made 60; starting took long, and says nothing of the speed either."""
    with Steps("fix", 100) as steps:
        clock.now += 1000
        assert steps.left() == ""
        steps.begin(40)
        steps.begin(20)
        assert steps.left() == ""
        for _ in range(10):
            clock.now += 6
            steps.advance()
        assert steps.left() == "about 3 min left"  # 30 steps of 6 s
        clock.now += 60  # between two trainings
        steps.begin()
        steps.advance(10)
        assert steps.left() == "about 2 min left"  # 20 steps of 120 s / 20
        steps.advance(20)
        assert steps.left() == "about 0 s left"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (99.4, "99 s"), (100, "2 min"), (3600, "60 min"), (6000, "1.7 h"), (36_000, "10 h"), (2e5, "2 days")],
)
def test_durations_for_people(seconds, text):
    assert duration(seconds) == text


LINE = (
    r"{title}: epoch {epoch}/2( \({of_all}/4 in all\))?: loss \d+\.\d{{4}}, training top-1 \d+\.\d\d, \d+\.\d s, "
    r"about \d+ (s|min) left"
)


def test_every_epoch_says_how_far_the_work_is(settings, dataset, capsys):
    chosen = changed(settings, fixing__fractions=(0.5, 0.9, 1.0), finetune__epochs=2, pretrain__epochs=2)
    with working(chosen, dataset) as work:
        rows = pretrain(work)
    said = capsys.readouterr().err.splitlines()
    for number, line in enumerate(said, 1):
        assert re.fullmatch(LINE.format(title="pretrain", epoch=number, of_all=number), line), line
    assert len(said) == 2
    assert all(row.keys() == {"epoch", "loss", "seconds"} for row in rows)  # what is written stays what it was
    with working(chosen, dataset) as work:
        fix_network(work)
    said = [line for line in capsys.readouterr().err.splitlines() if "no candidate" not in line]
    expected = [r"fix: round 1/3: .* \d+\.\d s"]
    for place, (number, epoch) in enumerate([(2, 1), (2, 2), (3, 1), (3, 2)], 1):
        expected.append(LINE.format(title=f"fix: round {number}/3", epoch=epoch, of_all=place))
        expected += [rf"fix: round {number}/3: .*, top-1 .* s, about \d+ (s|min) left"] if epoch == 2 else []
    assert len(said) == len(expected)
    for line, pattern in zip(said, expected, strict=True):
        assert re.fullmatch(pattern, line), (line, pattern)


def test_training_top_1_is_that_of_the_images_trained_on(settings, dataset, capsys, monkeypatch):
    """With a rate of next to nothing: of the network as it is, in training mode, on the same varied images."""
    seen = []
    original = type(dataset).training_batches

    def watched(self, *arguments):
        for batch in original(self, *arguments):
            seen.append(batch)
            yield batch

    monkeypatch.setattr(type(dataset), "training_batches", watched)
    chosen = changed(settings, pretrain__lr=1e-30, hardware__accumulate=2)
    with working(chosen, dataset) as work:
        pretrain(work)
    line = next(line for line in capsys.readouterr().err.splitlines() if "training top-1" in line)
    work.model.train()
    parts = [part for batch in seen for part in zip(batch.pixels.chunk(2), batch.labels.chunk(2), strict=True)]
    right = sum(int((work.model(pixels).argmax(1) == labels).sum()) for pixels, labels in parts)
    assert f"training top-1 {right / sum(map(len, seen)) * 100:.2f}," in line


def test_a_resumed_epoch_is_no_fast_one(settings, dataset, capsys, monkeypatch, repository):
    """The bar and the lines go on from where the work was; only what is trained here is timed."""
    monkeypatch.setattr(checkpoint, "SECONDS_BETWEEN", 0.0)
    chosen = changed(settings, pretrain__epochs=3)

    def attempt(stop_after):
        with working(chosen, dataset) as work:
            original = work.keep

            def keep(training):
                original(training)
                if len(training()["rows"]) == stop_after:
                    raise KeyboardInterrupt

            work.keep = keep
            pretrain(work)
            return work.progress

    with pytest.raises(KeyboardInterrupt):
        attempt(2)
    steps = attempt(None)
    assert "pretrain: goes on after epoch 2" in capsys.readouterr().err
    assert (steps._done, steps._timed) == (3 * dataset.batch_count(64), dataset.batch_count(64))
