"""Generation arguments of lmms-eval's tasks: what is honoured, what is refused, and what has no meaning here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any

from foveal.models.generation.generate import COLDEST

ARGUMENT = "the generation argument"
FILLER = ("\n\n",)
"""What lmms-eval puts into `until` where a task sets nothing; nobody asked for it, and answers of pages have it."""
KNOWN = {"max_new_tokens", "temperature", "do_sample", "top_p", "num_beams", "until"}
ALWAYS = {"repetition_penalty": 1, "no_repeat_ngram_size": 0, "min_new_tokens": 0, "min_length": 0}
"""Arguments that would change answers and that `generate` does not have, with the value that changes nothing."""
OF_SAMPLING, OF_BEAMS = {"top_k": 0, "min_p": 0, "typical_p": 1}, {"length_penalty": 1}
STOPS = ("stop", "stop_sequences", "stop_strings")
"""Other names of `until`, which lmms-eval does not know."""


@dataclass(frozen=True)
class Settings:
    """How answers are generated; the defaults are those of lmms-eval's own LLaVA.

    Attributes:
        max_new_tokens: longest answer in tokens.
        temperature: 0: the likeliest answer; above 0: sampling.
        top_p: sample from the likeliest tokens whose probabilities add up to this much.
        num_beams: beams of a beam search; 1: none.
        until: texts before which an answer ends.
        ignored: names of arguments that have no meaning for a text answer of Foveal.
    """

    max_new_tokens: int = 1024
    temperature: float = 0.0
    top_p: float = 1.0
    num_beams: int = 1
    until: tuple[str, ...] = ()
    ignored: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> "Settings":
        """Read a task's generation arguments; None means that an argument is not given.

        Without sampling, whatever only matters there is not looked at. `do_sample: false` is greedy at any
        temperature; `do_sample: true` without a temperature samples at 1.

        Raises:
            ValueError: naming the argument, if its value is unusable, or if it would change answers but cannot be
                honoured.
        """
        given = {name: value for name, value in arguments.items() if value is not None}
        samples = given.get("do_sample")
        temperature, top_p = _number(given, "temperature", 1.0 if samples is True else 0.0), 1.0
        if samples is False:
            temperature = 0.0
        if temperature > 0:
            if not COLDEST <= temperature < inf:
                raise ValueError(f"{ARGUMENT} temperature is {temperature}: it must be 0, or at least {COLDEST}")
            if not 0 < (top_p := _number(given, "top_p", 1.0)) <= 1:
                raise ValueError(f"{ARGUMENT} top_p is {top_p}: it must be above 0 and at most 1")
        beams = _count(given, "num_beams", 1)
        _refuse(given, ALWAYS | (OF_SAMPLING if temperature > 0 else {}) | (OF_BEAMS if beams > 1 else {}))
        handled = {*KNOWN, *ALWAYS, *OF_SAMPLING, *OF_BEAMS, *STOPS}
        return cls(
            max_new_tokens=_count(given, "max_new_tokens", 1024),
            temperature=temperature,
            top_p=top_p,
            num_beams=beams,
            until=_until(given.get("until", ())),
            ignored=tuple(sorted(given.keys() - handled)),
        )

    def cut(self, text: str) -> str:
        """The answer up to the first of the texts in `until`."""
        ends = [place for stop in self.until if (place := text.find(stop)) >= 0]
        return text[: min(ends)] if ends else text


def _number(given: Mapping[str, Any], name: str, default: float) -> float:
    value = given.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise ValueError(f"{ARGUMENT} {name} is {value!r}: it must be a number, at least 0")
    return float(value)


def _count(given: Mapping[str, Any], name: str, default: int) -> int:
    value = given.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{ARGUMENT} {name} is {value!r}: it must be a whole number, at least 1")
    return value


def _refuse(given: Mapping[str, Any], neutral: Mapping[str, float]) -> None:
    for name, value in neutral.items():
        if given.get(name, value) != value:
            raise ValueError(
                f"{ARGUMENT} {name} is {given[name]!r}, which changes answers and is not supported; to go without, add "
                f"--gen_kwargs {name}={value}"
            )
    for name in STOPS:
        if given.get(name):
            raise ValueError(f"{ARGUMENT} {name} is not supported: lmms-eval's name for it is until")


def _until(given: Any) -> tuple[str, ...]:
    stops = (given,) if isinstance(given, str) else tuple(given)
    if not all(isinstance(stop, str) and stop for stop in stops):
        raise ValueError(f"{ARGUMENT} until is {given!r}: it must be a text or a list of texts, none of them empty")
    return () if stops == FILLER else stops
