"""Data for training and validation, as Lightning data modules."""

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader

from foveal.models import Batch, Processor
from recipes.data.bad_samples import BadSamples
from recipes.data.dataset import (
    Filled,
    PageDataset,
    PageQuestions,
    QuestionCollator,
    SampleCollator,
    as_filler,
    untrained,
)
from recipes.data.loader import TrainLoader
from recipes.data.order import Curriculum, Order
from recipes.data.pages import Drawn, PageSettings
from recipes.data.ranks import Position, RankBatches, rank_questions, start_worker


@dataclass(frozen=True)
class DataIdentity:
    """Identifies the training data, so that a resumed run can check that the data is unchanged.

    Attributes:
        samples: number of samples in an epoch.
        fingerprint: hash of the samples and of everything that determines their order.
    """

    samples: int
    fingerprint: str


def validates(data: pl.LightningDataModule, trainer: pl.Trainer) -> bool:
    """Whether one of our data modules has validation data, and the Trainer's options leave some of it."""
    return bool(data.has_validation and trainer.limit_val_batches != 0)


class ConversationData(pl.LightningDataModule):
    """What all data modules share: the model's processor, and loaders that give every rank its own samples.

    Attributes:
        position: where the next training starts; None: at the beginning.
        batches: micro-batches of this rank; None until the training loader is created.
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
        """The identity of the training data."""

    @property
    def processor(self) -> Processor:
        """The model's processor, which knows its tokenizer, view plan and token counts."""
        processor: Processor = self.trainer.lightning_module.network.processor
        return processor

    def _train_loader(
        self,
        dataset: Any,
        order: Order,
        *,
        filler: Callable[[Any], Any] = untrained,
        collator: Callable[[Sequence[Any]], Batch] | None = None,
    ) -> DataLoader[Any]:
        """The loader of this rank.

        Args:
            dataset: the items that `order` numbers.
            order: order of the items.
            filler: turns an item into one on which nothing is learnt.
            collator: makes a batch of items; None: `SampleCollator`.
        """
        self.batches = RankBatches(
            order,
            batch_size=self.batch_size,
            accumulation=self.trainer.accumulate_grad_batches,
            ranks=self.trainer.world_size,
            rank=self.trainer.global_rank,
            position=self.position,
        )
        self._loader = TrainLoader(
            Filled(dataset, filler),
            batch_sampler=self.batches,
            num_workers=self.workers,
            collate_fn=collator or SampleCollator(self.processor),
            multiprocessing_context="spawn" if self.workers else None,
            persistent_workers=self.workers > 0,
            worker_init_fn=start_worker,
            pin_memory=self.trainer.strategy.root_device.type == "cuda",
            # Without it, every iterator would draw a number from the global generator, and a resumed run one more.
            generator=torch.Generator().manual_seed(self.seed % 2**63),
        )
        return self._loader

    def on_exception(self, exception: BaseException) -> None:
        """End the loader's workers."""
        if self._loader is not None:
            self._loader.end_workers()

    def _val_loader(self, dataset: Any, policy: BadSamples = BadSamples()) -> DataLoader[Any]:
        return DataLoader(
            Filled(dataset, as_filler),
            batch_sampler=rank_questions(
                len(dataset),
                batch_size=self.val_batch_size,
                ranks=self.trainer.world_size,
                rank=self.trainer.global_rank,
            ),
            num_workers=0,
            collate_fn=QuestionCollator(self.processor, policy),
            generator=torch.Generator(),
        )


def fingerprint(*parts: object) -> str:
    """A hash of the text of `parts`."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{part}\n".encode("utf-8", errors="surrogatepass"))
    return digest.hexdigest()


class PagesData(ConversationData):
    """Built-in pages of text, made on the fly: runs anywhere, downloads nothing.

    Args:
        pages: number of pages to learn from; they get harder during training.
        val_pages: number of pages to validate on, all at full difficulty; 0: no validation.
        settings: how pages look.
        easy_until: share of `pages` that are the easiest.
        hard_from: share of `pages` after which all are at full difficulty.
        batch_size: pages per micro-batch.
        val_batch_size: questions answered at a time.
        workers: processes that make pages; 0: the training process does it.
        seed: seed of the pages; validation uses different pages.
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
        self.pages, self.val_pages = pages, val_pages
        self.settings: Drawn = settings
        self.val_settings: Drawn = settings
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
        return self._val_loader(PageQuestions(self.val_settings, seed=self.seed + 1_000_003, size=self.val_pages))
