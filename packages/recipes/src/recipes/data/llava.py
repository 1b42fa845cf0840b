"""Conversations from files, as Lightning wants them."""

from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from torch.utils.data import DataLoader

from recipes.data.dataset import RecordDataset, RecordQuestions
from recipes.data.modules import ConversationData, DataIdentity, fingerprint
from recipes.data.order import ModalityLengthOrder
from recipes.data.records import read_records


class LlavaData(ConversationData):
    """Conversations in LLaVA's format.

    Args:
        path: JSON or JSONL to learn from.
        images: folder that the pictures' names start from; default: the file's own.
        val_path: JSON or JSONL to validate on; null: no validation.
        val_images: folder for the pictures of `val_path`; default: as for `images`.
        val_limit: validate on the first so many questions; null: on all.
        group_by_modality: put samples of like length and kind together; false: plain random order.
        on_bad_sample: what to do with a sample that cannot be used: `raise`, or `skip` and log it.
        batch_size: conversations of a micro-batch.
        val_batch_size: questions answered at a time.
        workers: processes that read and cut pictures; 0: the training process does.
        seed: of the order.
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
        on_bad_sample: Literal["raise", "skip"] = "raise",
        batch_size: int = 8,
        val_batch_size: int = 8,
        workers: int = 2,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, val_batch_size, workers, seed)
        self.path, self.images, self.val_path, self.val_images = path, images, val_path, val_images
        self.val_limit, self.group_by_modality, self.on_bad_sample = val_limit, group_by_modality, on_bad_sample
        self.has_validation = val_path is not None
        for name, file in (("path", path), ("val_path", val_path)):
            if file is not None and not Path(file).is_file():
                found = "that is a folder; give a file in it" if Path(file).is_dir() else "there is no such file"
                raise ValueError(f"--data.{name} {file}: {found} (JSON or JSONL in LLaVA's format)")
        self.records = read_records(path, images)
        self.val_records = [] if val_path is None else read_records(val_path, val_images)

    @cached_property
    def identity(self) -> DataIdentity:
        return DataIdentity(
            len(self.records), fingerprint(self.seed, self.group_by_modality, *(each.turns for each in self.records))
        )

    def train_dataloader(self) -> DataLoader[Any]:
        dataset = RecordDataset(self.records, self.processor, on_bad_sample=self.on_bad_sample)
        signed = [max(record.words, 1) * (1 if record.images else -1) for record in self.records]
        lengths = signed if self.group_by_modality else [1] * len(signed)
        return self._train_loader(dataset, ModalityLengthOrder(lengths, seed=self.seed))

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        if not self.val_records:
            return []
        questions = RecordQuestions(self.val_records)
        if self.val_limit is not None:
            questions.places = questions.places[: self.val_limit]
        return self._val_loader(questions)
