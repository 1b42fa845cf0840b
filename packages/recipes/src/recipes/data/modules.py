"""Data for training and validation, as Lightning wants it."""

import hashlib
from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader

from foveal.models import Processor
from recipes.data.dataset import (
    Filled,
    PageDataset,
    PageQuestions,
    QuestionCollator,
    RecordDataset,
    RecordQuestions,
    SampleCollator,
    as_filler,
    untrained,
)
from recipes.data.loader import TrainLoader
from recipes.data.order import Curriculum, ModalityLengthOrder, Order
from recipes.data.pages import PageSettings
from recipes.data.ranks import Position, RankBatches, rank_questions, start_worker
from recipes.data.records import read_records


@dataclass(frozen=True)
class DataIdentity:
    """What tells whether a training goes on with the data that it was begun with.

    Attributes:
        samples: of an epoch.
        fingerprint: of the samples and of what decides their order.
    """

    samples: int
    fingerprint: str


class ConversationData(pl.LightningDataModule):
    """What all data modules share: the model's processor, and loaders that give every rank its own samples.

    Attributes:
        position: where the next training begins; None: at the beginning.
        batches: of the training, once its loader was asked for.
    """

    has_validation = True

    def __init__(self, batch_size: int, val_batch_size: int, workers: int, seed: int) -> None:
        super().__init__()
        for name, size in (("batch_size", batch_size), ("val_batch_size", val_batch_size)):
            if size < 1:
                raise ValueError(f"--data.{name} is {size}: a batch has at least one sample")
        self.batch_size, self.val_batch_size, self.workers, self.seed = batch_size, val_batch_size, workers, seed
        self.position: Position | None = None
        self.batches: RankBatches | None = None
        self._loader: TrainLoader | None = None

    @property
    @abstractmethod
    def identity(self) -> DataIdentity:
        """Of the samples to learn from."""

    @property
    def processor(self) -> Processor:
        """The model's own: it knows tokenizer, plan and token counts."""
        processor: Processor = self.trainer.lightning_module.network.processor
        return processor

    def _train_loader(self, dataset: Any, order: Order) -> DataLoader[Any]:
        self.batches = RankBatches(
            order,
            batch_size=self.batch_size,
            accumulation=self.trainer.accumulate_grad_batches,
            ranks=self.trainer.world_size,
            rank=self.trainer.global_rank,
            position=self.position,
        )
        self._loader = TrainLoader(
            Filled(dataset, untrained),
            batch_sampler=self.batches,
            num_workers=self.workers,
            collate_fn=SampleCollator(self.processor),
            multiprocessing_context="spawn" if self.workers else None,
            persistent_workers=self.workers > 0,
            worker_init_fn=start_worker,
            pin_memory=self.trainer.strategy.root_device.type == "cuda",
            # Otherwise every iterator would draw a number from the global generator, a resumed run one more.
            generator=torch.Generator().manual_seed(self.seed % 2**63),
        )
        return self._loader

    def on_exception(self, exception: BaseException) -> None:
        """Leave no worker behind."""
        if self._loader is not None:
            self._loader.end_workers()

    def _val_loader(self, dataset: Any) -> DataLoader[Any]:
        return DataLoader(
            Filled(dataset, as_filler),
            batch_sampler=rank_questions(
                len(dataset),
                batch_size=self.val_batch_size,
                ranks=self.trainer.world_size,
                rank=self.trainer.global_rank,
            ),
            num_workers=0,
            collate_fn=QuestionCollator(self.processor),
            generator=torch.Generator(),
        )


def fingerprint(*parts: object) -> str:
    """A hash of what `parts` print."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{part}\n".encode("utf-8", errors="surrogatepass"))
    return digest.hexdigest()


class PagesData(ConversationData):
    """Built-in pages of text, made on the fly: runs anywhere, downloads nothing.

    Args:
        pages: number of pages to learn from; they get harder on the way.
        val_pages: number of pages to validate on, all at full difficulty; 0: no validation.
        settings: how pages look.
        easy_until: share of `pages` that are the easiest.
        hard_from: share of `pages` after which all are at full difficulty.
        batch_size: pages of a micro-batch.
        val_batch_size: questions answered at a time.
        workers: processes that make pages; 0: the training process does.
        seed: of the pages; those of the validation are others.
    """

    def __init__(
        self,
        *,
        pages: int = 57_600,
        val_pages: int = 256,
        settings: PageSettings = PageSettings(),
        easy_until: float = 0.05,
        hard_from: float = 0.35,
        batch_size: int = 32,
        val_batch_size: int = 64,
        workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, val_batch_size, workers, seed)
        if pages < 1:
            raise ValueError(f"--data.pages is {pages}: there must be at least one to learn from")
        self.pages, self.val_pages, self.settings = pages, val_pages, settings
        self.easy_until, self.hard_from = easy_until, hard_from
        self.has_validation = val_pages > 0

    @cached_property
    def identity(self) -> DataIdentity:
        return DataIdentity(
            self.pages, fingerprint(self.pages, self.settings, self.easy_until, self.hard_from, self.seed)
        )

    def train_dataloader(self) -> DataLoader[Any]:
        dataset = PageDataset(
            self.settings,
            self.processor,
            seed=self.seed,
            size=self.pages,
            easy_until=self.easy_until,
            hard_from=self.hard_from,
        )
        return self._train_loader(dataset, Curriculum(self.pages))

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        if not self.has_validation:
            return []
        return self._val_loader(PageQuestions(self.settings, seed=self.seed + 1_000_003, size=self.val_pages))


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
