"""Lines of text to print: words, numbers, prices, dates, codes."""

import random
import string
from collections.abc import Callable

from recipes.data.printed.words import WORDS

CURRENCIES = "$€£"
ALPHABET = "".join(map(chr, range(32, 127))) + "€£"
"""All characters that are printed."""
_VOWELS, _CONSONANTS = "aeiouy", "bcdfghjklmnpqrstvwxz"
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


def digits(rng: random.Random, most: int) -> str:
    """A number of up to `most` digits."""
    return "".join(rng.choices(string.digits, k=rng.randint(1, most)))


def line(rng: random.Random, most: int, difficulty: float) -> str:
    """A line of 1 to `most` characters, without spaces at its ends and without two in a row.

    Args:
        rng: where chance comes from.
        most: longest line.
        difficulty: 0: only digits; then more and more of the other kinds, from 1/6 on in their usual shares.
    """
    wanted = rng.randint(1, most)
    text = ""
    while len(text) < wanted:
        text += " " + _piece(rng, difficulty) if text else _piece(rng, difficulty)
    return text[:wanted].strip()


def price(rng: random.Random) -> str:
    """An amount of money in one of the usual forms."""
    whole = rng.choice(
        (digits(rng, 1), digits(rng, 2), digits(rng, 3), f"{rng.randint(1, 99)},{rng.randint(0, 999):03}")
    )
    amount = f"{whole}.{rng.randint(0, 99):02}"
    sign = rng.choice(CURRENCIES)
    return rng.choice((amount, amount, sign + amount, f"-{amount}", f"{amount} {sign}", amount.translate(_SWAPPED)))


_SWAPPED = str.maketrans(".,", ",.")


def _piece(rng: random.Random, difficulty: float) -> str:
    """One word or number; its first character is no space."""
    if rng.random() >= 6 * difficulty:
        return digits(rng, 6)
    (make,) = rng.choices(tuple(KINDS.values()), WEIGHTS)
    return make(rng)


_FORMS = ("{}",) * 12 + ("{},", "{}.", "{}:", "{};", "{}!", "{}?", "({})", '"{}"', "{}'s", "{}-", "{}/", "*{}")


def _word(rng: random.Random) -> str:
    return _dressed(rng, rng.choice(WORDS))


def _made_up(rng: random.Random) -> str:
    """A word that no dictionary has, so that spelling cannot replace reading."""
    letters = [rng.choice(_VOWELS if place % 2 else _CONSONANTS) for place in range(rng.randint(2, 9))]
    if rng.random() < 0.4:
        letters[rng.randrange(len(letters))] = rng.choice(string.ascii_lowercase)
    return _dressed(rng, "".join(letters))


def _dressed(rng: random.Random, word: str) -> str:
    """In small or capital letters, sometimes with punctuation."""
    word = rng.choice((word, word, word, word.title(), word.title(), word.upper()))
    return rng.choice(_FORMS).format(word)


def _code(rng: random.Random) -> str:
    """Capital letters and digits, as of tickets and articles."""
    code = "".join(rng.choices(string.ascii_uppercase + string.digits, k=rng.randint(2, 8)))
    return rng.choice((code, f"#{code}", code.lower(), f"{code[:2]}-{code[2:] or '0'}", f"{code}_{digits(rng, 2)}"))


def _date(rng: random.Random) -> str:
    year, month, day = rng.randint(1970, 2039), rng.randint(1, 12), rng.randint(1, 28)
    hour, minute = rng.randint(0, 23), rng.randint(0, 59)
    return rng.choice(
        (
            f"{year}-{month:02}-{day:02}",
            f"{day:02}/{month:02}/{year}",
            f"{day}.{month}.{year % 100:02}",
            f"{day} {_MONTHS[month - 1]} {year}",
            f"{hour:02}:{minute:02}",
            f"{hour:02}:{minute:02}:{rng.randint(0, 59):02}",
            f"{hour % 12 + 1}:{minute:02} {rng.choice(('AM', 'PM', 'am', 'pm'))}",
        )
    )


def _any_signs(rng: random.Random) -> str:
    return "".join(rng.choices(ALPHABET.replace(" ", ""), k=rng.randint(1, 6)))


def _mixed(rng: random.Random) -> str:
    """Signs that are rare elsewhere, percentages, quantities, addresses on the web."""
    word = rng.choice(WORDS)
    return rng.choice(
        (
            *([_any_signs(rng)] * 5),
            f"{digits(rng, 2)}%",
            f"{digits(rng, 1)} x",
            f"{digits(rng, 3)}{rng.choice(('kg', 'g', 'ml', 'l', 'cm', 'mm', 'oz', 'lb'))}",
            f"{word}@{rng.choice(WORDS)}.com",
            f"www.{word}.org",
            f"+{digits(rng, 2)} {digits(rng, 3)} {digits(rng, 4)}",
            rng.choice(("-", "&", "=", "|", "->", "...", "/", "+", "--", "***")),
        )
    )


def _number(rng: random.Random) -> str:
    return digits(rng, 8)


KINDS: dict[str, Callable[[random.Random], str]] = {
    "words": _word,
    "words that no dictionary has": _made_up,
    "codes": _code,
    "prices": price,
    "dates and times": _date,
    "rare signs": _mixed,
    "numbers": _number,
}
"""What pieces of text are, and what makes one."""
WEIGHTS = (40, 18, 7, 12, 6, 14, 8)
"""How often each kind occurs."""
