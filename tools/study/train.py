"""Train the arms, several at a time, each in its own process; go on where an earlier call stopped."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from types import FrameType

from recipes.states import newest_state
from tools.study.arms import ARMS, Arm, Stage, shared_data
from tools.study.results import Study, validations

EARLIER = 1000
"""Added to the seed of the pages for every stage that follows; above all seeds that are used."""


class Training:
    """An arm with a seed: its stages one after the other, each in a process.

    Args:
        study: its folder and steps.
        seed: of weights and pages.
        name: of the arm.
        threads: of the process.

    Raises:
        OSError: if the log cannot be written.
        ValueError: if a stage began with another configuration than today's.
    """

    def __init__(self, study: Study, seed: int, name: str, threads: int) -> None:
        self.study, self.seed, self.name, self.threads = study, seed, name, threads
        self.arm: Arm = ARMS[name]
        self.folder = study.folder(seed)
        self.log = self.folder / f"{name}.log"
        *before, last = self.arm.stages
        for stage in self.arm.stages:
            study.begin(seed, stage)
        missing = (stage for stage in before if not (self.folder / stage.name / "checkpoint").is_dir())
        self._left: Iterator[Stage] = iter([*missing, last])
        self._process = self._start(next(self._left))

    @property
    def title(self) -> str:
        """For messages."""
        return f"seed {self.seed}, {self.name}"

    def code(self) -> int | None:
        """The exit code; None while it runs. Starts the next stage once one has ended."""
        while (code := self._process.poll()) == 0:
            following = next(self._left, None)
            if following is None:
                break
            self._process = self._start(following)
        return code

    def finish(self) -> str:
        """Record the scores after exit code 0; returns ANLS at the end, in words, with that of earlier stages.

        Raises:
            ValueError: if there is no validation after the last step, or a configuration has changed meanwhile.
        """
        *before, last = self.arm.stages
        scores = self.study.finish(self.seed, self.name, self.folder / last.name, last.steps(self.study.steps))
        said = [f"{stage.name} alone {validations(self.folder / stage.name)[-1].anls:.3f}" for stage in before]
        return ", ".join([f"ANLS {scores[-1].anls:.3f}", *said])

    def stop(self) -> None:
        """Ask the process to write a state and to end."""
        # Not SIGINT, which processes started in the background may ignore.
        self._process.terminate()

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    def wait(self) -> None:
        """Wait until the process has ended."""
        self._process.wait()

    def _start(self, stage: Stage) -> subprocess.Popen[bytes]:
        self.folder.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {"OMP_NUM_THREADS": str(self.threads)}
        with self.log.open("ab") as log:
            # In its own session, so that Ctrl-C reaches it once: through `stop`.
            return subprocess.Popen(
                command(self.study, self.arm, stage, self.seed),
                cwd=self.folder,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


def command(study: Study, arm: Arm, stage: Stage, seed: int) -> list[str]:
    """The command of a stage, which resumes from its newest state; a run without a state is removed and starts anew."""
    run, pages = study.folder(seed) / stage.name, shared_data()["batch_size"] * stage.steps(study.steps)
    # The last stage is measured on the pages of the other arms; earlier ones learn from pages that it does not repeat.
    pages_seed = seed + EARLIER * (len(arm.stages) - 1 - arm.stages.index(stage))
    resumed = ["--ckpt_path", "last"] if newest_state(run / "states") is not None else []
    if run.exists() and not resumed:
        shutil.rmtree(run)
    return [
        *(sys.executable, "-m", "recipes.fit", "--config", str(stage.configuration), "--run", stage.name),
        *(f"--seed_everything={seed}", f"--data.seed={pages_seed}", f"--data.pages={pages}"),
        *("--trainer.enable_progress_bar=false", *resumed),
    ]


def train(study: Study, arms: Iterable[str], seeds: Iterable[int], *, jobs: int) -> list[str]:
    """Train what is not finished, seed by seed, `jobs` arms at a time; returns messages about what failed.

    Args:
        study: its folder and steps.
        arms: names of arms.
        seeds: of weights and pages; the same for all arms.
        jobs: processes at a time.

    Raises:
        KeyboardInterrupt: at Ctrl-C or SIGTERM, after all processes have written their states and ended.
    """
    waiting = [(seed, arm) for seed in seeds for arm in arms]
    left = [each for each in waiting if study.scores(*each) is None]
    print(f"{len(waiting) - len(left)} of {len(waiting)} runs are finished, {len(left)} are left", flush=True)
    threads = max(1, (os.cpu_count() or 1) // jobs)
    running: list[Training] = []
    failed: list[str] = []
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        while left or running:
            while left and len(running) < jobs:
                running.append(Training(study, *left.pop(0), threads))
            time.sleep(0.2)
            for training in list(running):
                code = training.code()
                if code is None:
                    continue
                running.remove(training)
                print(told := _told(training, code), flush=True)
                if study.scores(training.seed, training.name) is None:
                    failed.append(told)
    finally:
        _end(running)
        signal.signal(signal.SIGTERM, before)
    return failed


def _told(training: Training, code: int) -> str:
    """The score of a run that has ended, which is recorded, or what went wrong."""
    try:
        found = f"exit code {code}, see {training.log}" if code else training.finish()
    except ValueError as error:
        found = str(error)
    return f"{training.title}: {found}"


def _end(running: list[Training]) -> None:
    """Let every process write its state; a second Ctrl-C kills them."""
    for training in running:
        training.stop()
    try:
        for training in running:
            training.wait()
    except KeyboardInterrupt:
        for training in running:
            training.kill()
        raise


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
