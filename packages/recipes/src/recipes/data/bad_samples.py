"""What happens to samples that cannot be used: the run ends, or they are left out and counted."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

logger = logging.getLogger(__name__)
Policy = Literal["raise", "skip"]
SHOWN = 5


@dataclass(frozen=True)
class BadSamples:
    """The policy for samples that cannot be used, in training and validation, when files are read and later.

    Attributes:
        on_bad_sample: `raise`, or `skip`: leave out a sample that cannot be used, and log why. It is not replaced.
        max_bad: with `skip`, the share of the samples that may be left out; more is an error.

    Raises:
        ValueError: if `max_bad` is not between 0 and 1.
    """

    on_bad_sample: Policy = "raise"
    max_bad: float = 0.001

    def __post_init__(self) -> None:
        if not 0 <= self.max_bad <= 1:
            raise ValueError(f"--data.max_bad is {self.max_bad}: give a share of the samples, from 0 to 1")

    @property
    def skips(self) -> bool:
        return self.on_bad_sample == "skip"

    def read(self, faults: Sequence[str], samples: int, source: str) -> None:
        """Raise an error for faults found when a file was read, or log them if their samples are left out.

        Args:
            faults: a message for each faulty sample.
            samples: number of samples in the file.
            source: the file.

        Raises:
            ValueError: with the number of faults and the first of them, if they may not be left out or are too many.
        """
        if len(faults) == 1 and not self.skips:
            raise ValueError(faults[0])
        if faults and (reason := self._too_many(len(faults), samples)):
            further = f"\n... and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
            listed = "\n".join(faults[:SHOWN]) + further
            raise ValueError(f"{len(faults)} of {samples} samples of {source} cannot be used{reason}:\n{listed}")
        for fault in faults:
            logger.warning("left out: %s", fault)

    def check(self, bad: int, samples: int, source: str) -> None:
        """Refuse to leave out too many samples.

        Raises:
            ValueError: if `bad` of `samples` are more than the policy allows.
        """
        if reason := self._too_many(bad, samples):
            raise ValueError(f"{bad} of {samples} samples of {source} cannot be used{reason}; run.log names each")

    def _too_many(self, bad: int, samples: int) -> str:
        """Why this many samples may not be left out, and what to do; empty if they may."""
        if not self.skips:
            return "; mend them, or leave them out with --data.on_bad_sample skip"
        if bad == samples:
            return ", so nothing is left"
        if bad > self.max_bad * samples:
            return f", more than {self.max_bad:.1%}; mend them, or allow more with --data.max_bad"
        return ""


class LeftOutCount:
    """Counts the samples of one file that are left out in an epoch or a validation; logs each message once.

    Args:
        policy: says how many samples may be left out.
        samples: number of samples in the file.
        source: the file.
        known: number of samples that were found bad when the file was read.

    Attributes:
        most: the largest number in any epoch so far, over all ranks.
    """

    def __init__(self, policy: BadSamples, samples: int, source: str, *, known: int = 0) -> None:
        self.policy, self.samples, self.source, self.known = policy, samples, source, known
        self.most, self._concluded = known, 0
        self._logged: set[str] = set()
        self._epoch, self._found = 0, set[str]()

    def know(self, number: int) -> None:
        """Count further samples that are known to be bad before the first step.

        Raises:
            ValueError: if they are too many, together with those known before.
        """
        self.known += number
        self.most = max(self.most, self.known)
        if number:
            self.policy.check(self.known, self.samples, self.source)

    def add(self, messages: Sequence[str], epoch: int) -> int:
        """Count the messages of a batch; return how many different ones this rank has found in the epoch."""
        if epoch != self._epoch:
            self._epoch, self._found = epoch, set()
        for message in messages:
            if message not in self._logged:
                logger.warning("left out of %s: %s", self.source, message.removeprefix(f"{self.source}, "))
        self._logged.update(messages)
        self._found.update(messages)
        return len(self._found)

    def check(self, found: int) -> None:
        """Check the number of samples that all ranks have found in the epoch.

        Raises:
            ValueError: if they are too many, together with the known ones.
        """
        self.most = max(self.most, self.known + found)
        if found:
            self.policy.check(self.known + found, self.samples, self.source)

    def conclude(self) -> None:
        """Log the number at the end of the run, once."""
        if self.most > self._concluded:
            self._concluded = self.most
            logger.warning("left out %d of %d samples of %s; run.log names each", self.most, self.samples, self.source)
