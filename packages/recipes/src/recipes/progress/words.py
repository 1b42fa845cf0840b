"""Progress in words."""

import math
from collections.abc import Mapping

LONGEST_BAR = 30


def progress_line(
    number: int,
    total: float,
    seconds_left: float | None,
    values: Mapping[str, float],
    *,
    width: int,
    what: str = "",
    bar: bool = True,
) -> str:
    """`━━━━━──── 1200/1800 · 12:34 left · loss 0.123`, at most `width` characters.

    Args:
        number: number of steps done.
        total: total number of steps; infinite if unknown.
        seconds_left: None if unknown.
        values: by label, the most important first.
        width: in characters; to fit, values are dropped from the end, and the bar takes what remains.
        what: text before the numbers.
        bar: whether to draw a bar.
    """
    of = f"/{int(total)}" if math.isfinite(total) else ""
    parts = [f"{what}{number}{of}"]
    if seconds_left is not None:
        parts.append(f"{duration(seconds_left)} left")
    parts += [f"{label} {short(value)}" for label, value in values.items()]
    while len(parts) > 1 and len(" · ".join(parts)) > width:
        parts.pop()
    text = " · ".join(parts)[: max(width, 0)]
    room = min(LONGEST_BAR, width - len(text) - 1)
    if not bar or room < 5 or not math.isfinite(total):
        return text
    full = round(room * min(1.0, number / max(total, 1)))
    return f"{'━' * full}{'─' * (room - full)} {text}"


def duration(seconds: float) -> str:
    """`0:07`, `12:34`, `2:03:04`, `3 d 04:05`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 24:
        return f"{hours // 24} d {hours % 24:02}:{minutes:02}"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def short(value: float) -> str:
    """Three significant digits, without an exponent up to a million."""
    return f"{value:.0f}" if 100 <= abs(value) < 1e6 else f"{value:.3g}"
