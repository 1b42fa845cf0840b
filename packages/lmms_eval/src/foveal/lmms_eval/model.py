"""The class that lmms-eval builds; the only module here that imports lmms-eval."""

import logging
import os
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from lmms_eval.api.instance import GenerationResult, Instance, TokenCounts
from lmms_eval.api.model import lmms
from tqdm import tqdm

from foveal.lmms_eval.answering import Answering, Question
from foveal.lmms_eval.options import Options
from foveal.lmms_eval.settings import Settings

logger = logging.getLogger(__name__)


class Foveal(lmms):
    """Any model that Foveal opens, as a chat model of lmms-eval.

    Args:
        arguments: those of `Options`: what `--model_args` names, and lmms-eval's own `batch_size` and `device`.

    Raises:
        ValueError: for an unknown option or value, or as for `foveal.models.load`.
    """

    is_simple = False

    def __init__(self, **arguments: Any) -> None:
        super().__init__()
        options = Options.of(arguments)
        self._rank, self._world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        self.device: torch.device = options.own_device()
        # Not the model itself: lmms-eval deletes attributes that are modules after the last answer.
        self._answering = Answering(
            options.opened(),
            batch_size=options.batch_size,
            skip=options.on_bad_sample == "skip",
            cuda_graphs=options.cuda_graphs,
        )

    def generate_until(self, requests: Sequence[Instance]) -> list[GenerationResult]:
        """Answer the requests of all tasks, in their order. All arguments are checked before the first answer.

        Raises:
            ValueError: naming task and document, for a generation argument that cannot be honoured, or for a question
                that cannot be answered, unless `on_bad_sample` is `skip`.
        """
        questions = [self._question(request) for request in requests]
        results: list[GenerationResult] = [GenerationResult("")] * len(requests)
        _log_ignored(questions)
        with tqdm(total=len(requests), disable=self.rank != 0, desc="foveal") as bar:
            for number, answer in self._answering.answers(questions):
                counts = TokenCounts(input_tokens=answer.input_tokens, output_tokens=answer.output_tokens)
                results[number] = GenerationResult(answer.text, token_counts=counts)
                bar.update()
        return results

    def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        """Not supported.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(
            "the model foveal generates answers and has no log likelihoods: choose tasks with output_type "
            "generate_until"
        )

    def generate_until_multi_round(self, requests: Sequence[Instance]) -> list[str]:
        """Not supported.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(
            "the model foveal answers a task's question in one round: choose tasks with output_type generate_until"
        )

    def _question(self, request: Instance) -> Question:
        _, doc_to_messages, arguments, document, task, split = request.args
        where = f"{task}, document {document}"
        try:
            settings = Settings.of(arguments)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        return Question(where, settings, partial(self._messages, doc_to_messages, task, split, document))

    def _messages(self, doc_to_messages: Any, task: str, split: str, document: int) -> Any:
        return doc_to_messages(self.task_dict[task][split][document])


def _log_ignored(questions: Sequence[Question]) -> None:
    for name in sorted({name for question in questions for name in question.settings.ignored}):
        logger.warning("the generation argument %s has no meaning for the model foveal and is ignored", name)
