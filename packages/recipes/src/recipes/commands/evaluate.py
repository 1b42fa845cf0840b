"""The `evaluate` command: a benchmark's questions, answered, scored and shown."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from foveal.core import Size
from foveal.models import VisionLanguageModel
from recipes.answering.interrupt import interruptible
from recipes.answering.model import opened, takes_graphs
from recipes.answering.questions import Unusable
from recipes.benchmarks.benchmark import Benchmark, Prompt
from recipes.benchmarks.find import benchmark
from recipes.benchmarks.item import Item
from recipes.command_line.console import calm, interrupts_end, remark, short_errors
from recipes.evaluation.answer_files import AnswerPart, read_answers, written_answers
from recipes.evaluation.asked import Asked, asked_question
from recipes.evaluation.asking import Asker, Asking, asked_text, of_rank
from recipes.evaluation.folder_lock import only_evaluation
from recipes.evaluation.frames import FRAMES, frame_size, frames_for
from recipes.evaluation.looked import looked_at
from recipes.evaluation.ranks import Ranks, ranks
from recipes.evaluation.results import Results
from recipes.evaluation.scoring import check_items, is_scored, scores_of
from recipes.evaluation.settings import Settings, model_hash, preprocessing_hash, prompt_hash, template_hash
from recipes.evaluation.writing import write_results
from recipes.progress.counted import CountedLine
from recipes.reading.pictures import picture_size


def main(options: argparse.Namespace) -> None:
    """Answer and score.

    Args:
        options: as `evaluate_options` returns them.

    Raises:
        SystemExit: with 1 for unusable input, with 130 on an interrupt.
    """
    calm()
    with interrupts_end(), short_errors():
        _evaluate(options)


def _evaluate(options: argparse.Namespace) -> None:
    with ExitStack() as held:
        left_out = _evaluated(options, held)
    if left_out:
        raise SystemExit(1)


def _evaluated(options: argparse.Namespace, held: ExitStack) -> int:
    """Answer, score and write; the folder is `held` meanwhile. Returns how many questions could not be asked."""
    asked = benchmark(options.benchmark, options.allow_import)
    everything = items_of(asked, options.data)
    items = everything[: options.limit]
    prompt = _prompt(asked, options)
    questions = {item.key: asked_question(asked, item, asked_text(prompt, item)) for item in items}
    if is_scored(asked, items):
        check_items(asked, items)
    unusable = Unusable(options.on_bad_sample == "skip")
    if options.answers is None and not unusable.skips:
        _find_videos(items)
    options.output.mkdir(parents=True, exist_ok=True)
    settings = model = None
    with ranks() as world:
        if world.first:
            held.enter_context(only_evaluation(options.output))
        if options.answers is not None:
            given = read_answers(options.answers, everything)
            answers = {key: answer for key, answer in given.items() if key in questions}
        else:
            settings, model = _answer(options, asked, prompt, items, questions, unusable, world)
            world.wait()
            answers = written_answers(options.output, questions) if world.first else {}
        left_out = world.total(unusable.number)
    if world.first:  # after the ranks have parted: metrics would wait for the states of the others
        found = Results(options.benchmark.stem, asked, items, questions, answers, settings, left_out)
        scores = scores_of(asked, items, answers) if is_scored(asked, items) else None
        looked = looked_at(model, found, scores, options.explain) if model is not None and options.explain else {}
        write_results(found, scores, looked, options.output)
    return left_out


def items_of(asked: Benchmark, data: Path | None) -> list[Item]:
    """The questions of a benchmark.

    Raises:
        ValueError: if there are none, two have one id, or the folder is missing.
        OSError: if a file cannot be read.
    """
    if data is None and asked.records.needs_folder:
        raise ValueError("give the folder with the benchmark's files: --data")
    if data is not None and not data.is_dir():
        raise ValueError(f"there is no folder {data}")
    items, known = [], dict[str, str]()
    for item in asked.records.items(data or Path()):
        if item.key in known:
            raise ValueError(f"{item.where}: its id is {item.key!r:.60}, which is that of {known[item.key]}, too")
        known[item.key] = item.where
        _check_texts(item)
        asked.places_of(item)
        items.append(item)
    if not items:
        raise ValueError(f"{data} has no questions of this benchmark")
    if asked.size is not None and len(items) != asked.size:
        remark(f"{data} holds {len(items)} question{'s' * (len(items) > 1)}, the whole benchmark has {asked.size}")
    return items


def _find_videos(items: Sequence[Item]) -> None:
    """Find every video before hours are spent on the others: many have left their sites."""
    for item in items:
        if item.video is not None:
            item.video.find()


def _check_texts(item: Item) -> None:
    """Find what no file of the evaluation could hold, before a model is asked for hours."""
    names = [picture.name for picture in item.pictures]
    try:
        json.dumps([item.key, item.values, names], ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{item.where}: a text has half a character (a lone surrogate): correct it") from error


def _prompt(asked: Benchmark, options: argparse.Namespace) -> Prompt:
    if options.prompts not in asked.prompts:
        raise ValueError(f"--prompts {options.prompts}: this benchmark has only {', '.join(asked.prompts)}")
    prompt = asked.prompts[options.prompts]
    return prompt if options.max_new_tokens is None else replace(prompt, max_new_tokens=options.max_new_tokens)


def _answer(
    options: argparse.Namespace,
    asked: Benchmark,
    prompt: Prompt,
    items: Sequence[Item],
    questions: Mapping[str, Asked],
    unusable: Unusable,
    world: Ranks,
) -> tuple[Settings, VisionLanguageModel]:
    """Answer what is not answered yet, and return how, and the model."""
    options.device, options.max_new_tokens = world.device(options.device), prompt.max_new_tokens
    sizes, text = _first_question(items, questions, options.frames)
    model = opened(options, sizes, text, batch_size=min(options.batch_size, len(items)))
    frames = frames_for(model.processor.plan, options.frames)
    settings = Settings(
        benchmark=options.benchmark.stem,
        split=asked.split,
        checkpoint=str(options.checkpoint),
        prompts=options.prompts,
        prompt=prompt.text,
        template=model.processor.template,
        prompt_hash=prompt_hash(prompt),
        template_hash=template_hash(model.processor, prompt),
        preprocessing_hash=preprocessing_hash(model.processor),
        model_hash=model_hash(model),
        max_new_tokens=prompt.max_new_tokens,
        temperature=options.temperature,
        stop=tuple(prompt.stop),
        frames=frames,
        quantize=options.quantize or "",
        dtype=str(model.language_model.dtype).removeprefix("torch."),
        device=model.device.type,
        attention=model.language_model.config._attn_implementation,
    )
    answered: frozenset[str] = frozenset()
    if world.first:
        settings.keep(options.output / "settings.json")
        answered = frozenset(written_answers(options.output, questions))
    answered = world.of_first(answered)
    left = [item for item in items if item.key not in answered]
    how = Asking(prompt, options.temperature, options.batch_size, frames, takes_graphs(model, options))
    mine, total = of_rank(left, world.rank, world.world), len(items)
    _answer_all(Asker(model, how, unusable), mine, questions, total, options.output, world)
    return settings, model


def _first_question(
    items: Sequence[Item], questions: Mapping[str, Asked], frames: int | None
) -> tuple[list[Size | list[Size]], str]:
    """The first question whose pictures can be read: their sizes, and those of the video's frames; and its prompt.

    If there is none, no pictures: what is wrong with them is told when they are asked about.
    """
    for item in items:
        try:
            sizes: list[Size | list[Size]] = [picture_size(picture.find()) for picture in item.pictures]
            if item.video is not None:
                sizes.append([frame_size(item.video.find())] * (frames or FRAMES))
        except ValueError:
            continue
        return sizes, questions[item.key].prompt
    return [], ""


def _answer_all(
    asker: Asker, items: Sequence[Item], questions: Mapping[str, Asked], total: int, output: Path, world: Ranks
) -> None:
    part = AnswerPart(output, world.rank)
    line = CountedLine("answered", total, done=total - len(items), shows=world.first)
    try:
        with interruptible() as check:
            for item, text in asker.answers(items):
                part.add(item, questions[item.key], text)
                line.add()
                check()
    except KeyboardInterrupt:
        line.close()
        if world.first:
            sys.stderr.write(
                f"stopped: {line.done} of {line.total} questions are answered; the same command answers the others\n"
            )
        raise
    finally:
        line.close()
        part.close()
