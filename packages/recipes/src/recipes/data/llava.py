"""Conversations from files, as a Lightning data module."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import DataLoader

from foveal.models import Batch
from foveal.models.language_models.packed_rows import check_packing
from recipes.data.bad_samples import BadSamples, LeftOutCount
from recipes.data.dataset import RecordDataset, RecordQuestions
from recipes.data.eval_batch import EvalBatch
from recipes.data.lengths import Measured, measure, measure_questions
from recipes.data.mixture import open_data
from recipes.data.modules import ConversationData, DataIdentity, fingerprint
from recipes.data.order import ModalityLengthOrder
from recipes.data.packing import PackedCollator, PackedDataset, PackedOrder, Packs, packs_of, untrained_pack


class LlavaData(ConversationData):
    """Conversations and captions from files, in LLaVA's format and the others in docs/data.md.

    Args:
        path: file or folder to learn from: JSON, JSONL, Parquet, tars ...; or a mixture of such files in YAML.
        images: folder that the names of pictures are relative to; default: the file's own.
        val_path: the same to validate on; null: no validation.
        val_images: folder for the pictures of `val_path`; default: as for `images`.
        val_limit: number of questions to validate on, from the first; null: all.
        group_by_modality: put samples of similar length and the same modality together; false: plain random order.
            Without meaning if samples are packed.
        packed_length: pack samples into rows of this many tokens, at least the model's `max_length`; `batch_size` is
            then a number of rows. null: each sample is a row, padded to the longest of its batch.
        on_bad_sample: what to do with a sample that cannot be used, in training and validation: `raise`, or `skip` and
            log it.
        max_bad: with `skip`, the share of a file's samples that may be left out; more is an error.
        batch_size: conversations per micro-batch.
        val_batch_size: questions answered at a time.
        workers: processes that read and slice pictures; 0: the training process does it.
        seed: seed of the order.
    """

    def __init__(
        self,
        path: str,
        *,
        images: str | None = None,
        val_path: str | None = None,
        val_images: str | None = None,
        val_limit: int | None = None,
        group_by_modality: bool = True,
        packed_length: int | None = None,
        on_bad_sample: Literal["raise", "skip"] = "raise",
        max_bad: float = 0.001,
        batch_size: int = 8,
        val_batch_size: int = 8,
        workers: int = 2,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, val_batch_size, workers, seed)
        self.path, self.images, self.val_path, self.val_images = path, images, val_path, val_images
        self.val_limit, self.group_by_modality, self.packed_length = val_limit, group_by_modality, packed_length
        self.policy = BadSamples(on_bad_sample, max_bad)
        self.has_validation = val_path is not None
        for name, file in (("path", path), ("val_path", val_path)):
            if file is not None and not Path(file).exists():
                raise ValueError(
                    f"--data.{name} {file}: there is no such file or folder; docs/data.md says what is read"
                )
        self.records = open_data(path, images, policy=self.policy)
        self.measured: Measured | None = None
        self.packs: Packs | None = None
        self.left_out = LeftOutCount(self.policy, len(self.records), path, known=len(self.records.faults))
        self.questions: RecordQuestions | None = None
        self._asked = False
        if val_path is not None:
            asked = open_data(val_path, val_images, policy=self.policy)
            self.questions = RecordQuestions(asked, limit=val_limit, policy=self.policy)
            self.val_left_out = LeftOutCount(self.policy, len(self.questions), val_path)

    @cached_property
    def identity(self) -> DataIdentity:
        if self.packed_length is not None:
            packs = self._packs(self.packed_length)
            return DataIdentity(
                len(packs), fingerprint(self.seed, self.packed_length, packs.digest, self.records.fingerprint)
            )
        return DataIdentity(len(self.records), fingerprint(self.seed, self.group_by_modality, self.records.fingerprint))

    def setup(self, stage: str) -> None:
        """Measure all samples and questions, so that those that do not fit are known before the first step.

        Raises:
            ValueError: naming the first of them, if they may not be left out; if samples are to be packed and the model
                cannot keep them apart, or they may be longer than a row.
        """
        if stage == "fit" and self.packed_length is not None:
            check_packing(self.trainer.lightning_module.network.language_model)
            if self.packed_length < self.processor.max_length:
                raise ValueError(
                    f"--data.packed_length is {self.packed_length}, but a sample may have {self.processor.max_length} "
                    "tokens (the model's max_length): raise the one or lower the other"
                )
        if stage == "fit" and self.measured is None:
            self.measured = measure(self.records, self.processor)
            self._report(self.measured.faults, self.left_out)
        if self.questions is not None and not self._asked:
            self._asked = True
            faults = measure_questions(self.questions, self.processor)
            self._report(faults, self.val_left_out)
            self.questions.known = faults.keys()

    def _report(self, faults: Mapping[int, str], count: LeftOutCount) -> None:
        self.policy.read([faults[number] for number in sorted(faults)], count.samples, count.source)
        count.know(len(faults))

    def _packs(self, length: int) -> Packs:
        """The packs of all samples, made once."""
        if self.packs is None:
            assert self.measured is not None  # since `setup`
            self.packs = packs_of(self.measured.tokens, length, seed=self.seed)
        return self.packs

    def train_dataloader(self) -> DataLoader[Any]:
        known = () if self.measured is None else self.measured.faults.keys()
        dataset = RecordDataset(self.records, self.processor, policy=self.policy, known=known)
        if self.packed_length is not None:
            packs = self._packs(self.packed_length)
            return self._train_loader(
                PackedDataset(dataset, packs),
                PackedOrder(len(packs), seed=self.seed),
                filler=untrained_pack,
                collator=PackedCollator(self.processor, self.packed_length),
            )
        words = self.records.modality_lengths
        return self._train_loader(
            dataset, ModalityLengthOrder(words if self.group_by_modality else np.ones_like(words), seed=self.seed)
        )

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        return [] if self.questions is None else self._val_loader(self.questions, self.policy)

    def on_after_batch_transfer(self, batch: Batch | EvalBatch, dataloader_idx: int) -> Batch | EvalBatch:
        """Count what was left out of a batch, over all ranks; every rank gets the same number of batches.

        Raises:
            ValueError: on all ranks, if too many samples were left out.
        """
        if self.policy.skips:
            count, epoch = (
                (self.left_out, self.trainer.current_epoch) if isinstance(batch, Batch) else (self.val_left_out, 0)
            )
            own = torch.tensor(count.add(batch.left_out, epoch), device=self.trainer.strategy.root_device)
            count.check(int(self.trainer.strategy.reduce(own, reduce_op="sum")))
        return batch

    def teardown(self, stage: str) -> None:
        """Log at the end how many samples were left out."""
        counts = [self.left_out] if self.questions is None else [self.left_out, self.val_left_out]
        for count in counts if self.trainer.is_global_zero else ():
            count.conclude()
