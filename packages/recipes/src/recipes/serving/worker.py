"""The thread that answers with one model: whoever waits joins the batch at the next token."""

import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from threading import Condition, Thread
from typing import Any, TypeVar

import torch

from foveal.models import SeenPictures, VisionLanguageModel
from foveal.models.generation.running_batch import RunningBatch
from recipes.serving.asked import Asked
from recipes.serving.errors import RefusedError, internal_error, model_failed, out_of_memory, stopping
from recipes.serving.in_steps import InSteps
from recipes.serving.metrics import Metrics
from recipes.serving.row import Row

logger = logging.getLogger(__name__)
T = TypeVar("T")


class Worker:
    """Answers the questions to one model in a thread of its own.

    Questions that wait are read together and join those that are being answered. Where the language model does not
    allow that (`foveal.models.generation.running_batch.joins`), they wait until the batch has ended; where it does not
    allow others at all (`alone`), they are answered one by one.

    Args:
        name: of the model, for metrics.
        model: in evaluation mode, on its device.
        max_batch: questions answered together.
        cache_bytes: memory for visual tokens of pictures that may be asked about again.
        metrics: where everything is counted.

    Attributes:
        failed: whether the thread has ended by a fault; nobody is answered any more.
    """

    def __init__(
        self, name: str, model: VisionLanguageModel, *, max_batch: int, cache_bytes: int, metrics: Metrics
    ) -> None:
        self.name, self.model, self.metrics = name, model, metrics
        self._seen = SeenPictures(model, cache_bytes)
        self._running = RunningBatch(model.language_model)
        self.max_batch = 1 if self._running.alone else max_batch
        self._rows: list[Row] = []
        self._waiting: deque[Asked] = deque()
        self._works: deque[InSteps[Any]] = deque()
        self._changed = Condition()
        self._ends = self.failed = False
        self._refused: Callable[[], RefusedError] | None = None
        self._thread = Thread(target=self._run, name=f"answers of {name}", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread at its next token; questions that are left are refused."""
        with self._changed:
            self._ends = True
            self._changed.notify()
        self._thread.join()

    def ask(self, asked: Asked) -> None:
        """Add a question to those that wait.

        Raises:
            RefusedError: if the thread has ended.
        """
        with self._changed:
            self._check()
            self._waiting.append(asked)
            self.metrics.waiting.labels(self.name).set(len(self._waiting))
            self._changed.notify()

    def work(self, steps: Generator[None, None, T]) -> "Future[T]":
        """Do something else with the model, in its thread, not in inference mode: now and then a step between two
        tokens, in about half of the time. What comes later waits until it is over.

        Args:
            steps: yields between two steps, and returns the result. They end if the result is cancelled.

        Raises:
            RefusedError: if the thread has ended.
        """
        work = InSteps(steps)
        with self._changed:
            self._check()
            self._works.append(work)
            self._changed.notify()
        return work.result

    def _check(self) -> None:
        if self._refused is not None:
            raise self._refused()

    def _run(self) -> None:
        new: list[Asked] | None = []
        refused = stopping
        try:
            with torch.inference_mode():
                while (new := self._taken()) is not None:
                    self._work()
                    if new:
                        self._begin(new)
                    if self._rows:
                        self._advance()
        except BaseException as error:  # or whoever waits would wait for ever
            logger.critical("%s: it answers no more, start the server again", self.name, exc_info=error)
            self.failed, refused = True, model_failed
        with self._changed:
            self._refused = refused
        for asked in (*(new or ()), *self._waiting, *(row.asked for row in self._rows)):
            asked.put(refused())
        for work in self._works:
            work.refuse(refused())

    def _work(self) -> None:
        """A step of the other work, if it is due."""
        if self._works and (self._works[0].due or not self._rows):
            with torch.inference_mode(False):
                self._works[0].advance()

    def _taken(self) -> list[Asked] | None:
        """The questions that begin now, after waiting for one if there is nothing to do; None: end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._rows or self._works or self._ends)
            if self._ends:
                return None
            self._works = deque(work for work in self._works if not work.over)
            wait = [asked for asked in self._waiting if not asked.left.is_set()]
            self.metrics.answers.labels(self.name, "left").inc(len(self._waiting) - len(wait))
            free = self.max_batch - len(self._rows) if self._running.joins or not self._rows else 0
            new, self._waiting = wait[:free], deque(wait[free:])
            self.metrics.waiting.labels(self.name).set(len(self._waiting))
            return new

    def _begin(self, new: Sequence[Asked]) -> None:
        """Read prompts and choose the first token of each; one that fails does not harm the others."""
        try:
            rows = [Row(asked, self.model.processor, self.model.device) for asked in new]
            logits = self._read(new)
        except Exception as error:
            if len(self._running) != len(self._rows):
                # The failure came while caches were joined.
                self._fail_all(error)
            if len(new) > 1:
                for each in new:
                    self._begin([each])
            else:
                self._fail(new[0], error)
            return
        for asked in new:
            self._count_prompt(asked)
        self._rows += rows
        try:
            self._choose(rows, logits)
            self._leave_out()
        except Exception as error:
            self._fail_all(error)

    def _read(self, new: Sequence[Asked]) -> torch.Tensor:
        """Logits [questions, vocabulary] for the first tokens."""
        model, seen = self.model, self._seen
        batch = model.processor.collate([asked.sample for asked in new], side="left")
        encoded, reused = seen.encoded, seen.reused
        pictures = seen(batch.views, batch.sizes)
        batch = replace(batch, views=()).to(model.device)
        prompt = model.embed(batch.input_ids, (), batch.sizes, pictures)
        logits = self._running.add(prompt, batch.attention_mask, batch.position_ids)
        self.metrics.pictures.labels(self.name, "encoded").inc(seen.encoded - encoded)
        self.metrics.pictures.labels(self.name, "kept").inc(seen.reused - reused)
        return logits

    def _advance(self) -> None:
        """One more token of every answer."""
        self.metrics.batch.labels(self.name).observe(sum(not row.over for row in self._rows))
        try:
            tokens = torch.tensor([row.token for row in self._rows], device=self.model.device)
            self._choose(self._rows, self._running.step(tokens))
            self._leave_out()
        except Exception as error:
            self._fail_all(error)

    def _choose(self, rows: Sequence[Row], logits: torch.Tensor) -> None:
        """The next token of each row; one that fails, since its logits are not numbers, does not harm the others."""
        likeliest = logits.argmax(dim=-1).tolist()
        for number, (row, token) in enumerate(zip(rows, likeliest, strict=True)):
            if row.over:
                continue
            try:
                row.add(token if row.choose is None else int(row.choose(logits[number : number + 1].float())))
            except Exception as error:
                row.end = "error"
                self._fail(row.asked, error)
                continue
            if row.tokens == 1:
                self.metrics.first.labels(self.name).observe(time.monotonic() - row.asked.began)
            if row.over:
                self._count(row)

    def _leave_out(self) -> None:
        """Free the places of answers that are over; where rows cannot leave, when all are."""
        kept = [number for number, row in enumerate(self._rows) if not row.over]
        if not kept or self._running.joins:
            self._running.keep(kept)
            self._rows = [self._rows[number] for number in kept]
        self.metrics.running.labels(self.name).set(len(kept))

    def _count_prompt(self, asked: Asked) -> None:
        visual = asked.visual
        self.metrics.tokens.labels(self.name, "visual").inc(visual)
        self.metrics.tokens.labels(self.name, "text").inc(len(asked.sample.input_ids) - visual)

    def _count(self, row: Row) -> None:
        self.metrics.answers.labels(self.name, row.end).inc()
        self.metrics.tokens.labels(self.name, "answer").inc(row.tokens)
        self.metrics.seconds.labels(self.name).observe(time.monotonic() - row.asked.began)

    def _fail_all(self, error: Exception) -> None:
        rows, self._rows = self._rows, []
        self._running = RunningBatch(self.model.language_model)
        self.metrics.running.labels(self.name).set(0)
        for row in rows:
            if not row.over:
                self._fail(row.asked, error)

    def _fail(self, asked: Asked, error: Exception) -> None:
        self.metrics.answers.labels(self.name, "error").inc()
        logger.error("%s: a question was not answered", self.name, exc_info=error)
        asked.put(out_of_memory() if isinstance(error, torch.OutOfMemoryError) else internal_error())


def worker_of(workers: Mapping[str, Worker], name: str) -> Worker:
    """The worker of a model.

    Raises:
        RefusedError: if there is no such model.
    """
    if name not in workers:
        message = f"there is no model {name[:200]!r}; there are {', '.join(workers)}"
        raise RefusedError(404, message, param="model", code="model_not_found")
    return workers[name]
