"""CIDEr-D: how well a caption agrees with several people's, rare words counting more."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import exp, log, sqrt

import torch
from torch import Tensor
from torchmetrics.utilities import dim_zero_cat

from recipes.metrics.answers import check_answers
from recipes.metrics.extras import library
from recipes.metrics.kept_rows import KeptRows
from recipes.metrics.mean import add_counts

LONGEST, HIGHEST = 4, 10
SIGMA = 6.0
REMOVED = {"''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";"}
"""Tokens that coco-caption removes; tokens are in lower case by then, so "-lrb-" stays."""

Vector = Mapping[tuple[str, ...], float]


class CiderD(KeptRows):
    """CIDEr-D of captions (Vedantam et al., arXiv 1411.5726, section 4; coco-caption's `Cider`), times 10.

    Papers print 100 times this. Document frequencies come from the references of all records, so that a single record
    scores 0. Texts are split by NLTK's Treebank rules, which differ from CoreNLP's in some clitics and hyphens; pass
    tokens joined by spaces to `update(..., tokenized=True)` for exact figures.

    Attributes:
        missing: number of missing captions, which score 0.

    Raises:
        ImportError: without nltk, when a text has to be split.
    """

    higher_is_better = True
    full_state_update = False
    missing: Tensor

    def __init__(self) -> None:
        super().__init__()
        # Texts cannot be gathered; their bytes can.
        self.add_rows("texts", torch.empty(0, dtype=torch.uint8))
        add_counts(self, "missing")

    def update(
        self,
        predictions: Sequence[str | None],
        references: Sequence[Sequence[str]],
        *,
        tokenized: bool = False,
    ) -> None:
        """Add captions (None: missing), each with its references.

        Args:
            predictions: the captions.
            references: people's captions.
            tokenized: the texts are tokens already, joined by spaces.

        Raises:
            ValueError: if there are not as many references as predictions, or one has none.
        """
        check_answers(predictions, references)
        for prediction, accepted in zip(predictions, references, strict=True):
            self.missing = self.missing + (prediction is None)
            texts = [prediction or "", *accepted]
            words = [text.split() if tokenized else caption_tokens(text) for text in texts]
            # NUL ends a record, a line end a text: neither may be inside of one.
            lines = [" ".join(each).replace("\x00", "") for each in words]
            coded = bytearray("\n".join(lines).encode(errors="replace") + b"\x00")
            self.texts.append(torch.frombuffer(coded, dtype=torch.uint8).to(self.device))

    def compute(self) -> Tensor:
        """The mean over records, 0 to 10."""
        scores = self._scores()
        return torch.tensor(sum(scores) / len(scores), dtype=torch.float32)

    def single(self, predictions: Sequence[str | None], references: Sequence[Sequence[str]]) -> list[float]:
        """The score of each caption, given the references of all, as a share of the highest: 0 to 1."""
        metric = CiderD()
        metric.update(predictions, references)
        return [min(score / HIGHEST, 1.0) for score in metric._scores()]

    def _scores(self) -> list[float]:
        stored = dim_zero_cat(self.texts)
        records = [record.split("\n") for record in bytes(stored.tolist()).decode().split("\x00")[:-1]]
        return cider_d([(record[0].split(), [each.split() for each in record[1:]]) for record in records])


def caption_tokens(text: str) -> list[str]:
    """The words of a caption in lower case, without punctuation.

    Raises:
        ImportError: without nltk.
    """
    tokenizer = library("nltk.tokenize").TreebankWordTokenizer()
    words = tokenizer.tokenize(text, convert_parentheses=True)
    return [word.lower() for word in words if word.lower() not in REMOVED]


def cider_d(records: Sequence[tuple[Sequence[str], Sequence[Sequence[str]]]]) -> list[float]:
    """CIDEr-D of every record.

    Args:
        records: tokens of the caption, and of each of its references.
    """
    counted = [(_counts(caption), [_counts(each) for each in references]) for caption, references in records]
    seen: Counter[tuple[str, ...]] = Counter()
    for _, references in counted:
        seen.update({gram for each in references for gram in each})
    whole = log(len(records))
    return [_score(caption, references, seen, whole) for caption, references in counted]


def _counts(tokens: Sequence[str]) -> Counter[tuple[str, ...]]:
    return Counter(
        tuple(tokens[start : start + n]) for n in range(1, LONGEST + 1) for start in range(len(tokens) - n + 1)
    )


def _score(
    caption: Counter[tuple[str, ...]],
    references: Sequence[Counter[tuple[str, ...]]],
    seen: Mapping[tuple[str, ...], int],
    whole: float,
) -> float:
    def weighted(counts: Counter[tuple[str, ...]], n: int) -> Vector:
        return {
            gram: count * (whole - log(max(1, seen.get(gram, 0)))) for gram, count in counts.items() if len(gram) == n
        }

    total = 0.0
    for reference in references:
        gap = _bigrams(caption) - _bigrams(reference)
        alike = [_cosine(weighted(caption, n), weighted(reference, n)) for n in range(1, LONGEST + 1)]
        total += sum(alike) / LONGEST * exp(-(gap**2) / (2 * SIGMA**2))
    return HIGHEST * total / len(references)


def _cosine(caption: Vector, reference: Vector) -> float:
    """The cosine of two vectors, with the caption's counts clipped to the reference's."""
    lengths = sqrt(sum(each**2 for each in caption.values())) * sqrt(sum(each**2 for each in reference.values()))
    product = sum(
        min(weight, reference[gram]) * reference[gram] for gram, weight in caption.items() if gram in reference
    )
    return product / lengths if lengths else 0.0


def _bigrams(counts: Counter[tuple[str, ...]]) -> int:
    return sum(count for gram, count in counts.items() if len(gram) == 2)
