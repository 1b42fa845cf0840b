"""English contractions, and the spellings without apostrophes that stand for them in the evaluation of VQA."""

SINGLE = [
    "ain't",
    "aren't",
    "can't",
    "could've",
    "couldn't",
    "didn't",
    "doesn't",
    "don't",
    "hadn't",
    "hasn't",
    "haven't",
    "he's",
    "how'd",
    "how'll",
    "how's",
    "I'm",
    "I've",
    "isn't",
    "it'd",
    "it'll",
    "ma'am",
    "mightn't",
    "might've",
    "mustn't",
    "must've",
    "needn't",
    "not've",
    "o'clock",
    "oughtn't",
    "shan't",
    "should've",
    "shouldn't",
    "somebody'll",
    "somebody's",
    "someone'd",
    "someone'll",
    "someone's",
    "something'd",
    "something'll",
    "that's",
    "there'd",
    "there're",
    "there's",
    "they'd",
    "they'll",
    "they're",
    "they've",
    "'twas",
    "wasn't",
    "we've",
    "weren't",
    "what'll",
    "what're",
    "what's",
    "what've",
    "when's",
    "where'd",
    "where's",
    "where've",
    "who'd",
    "who'll",
    "who's",
    "who've",
    "why'll",
    "why're",
    "why's",
    "won't",
    "would've",
    "wouldn't",
    "y'all",
    "you'd",
    "you'll",
    "you're",
    "you've",
]
"""With one apostrophe: the spelling without it stands for them."""

DOUBLE = [
    "couldn't've",
    "hadn't've",
    "he'd've",
    "I'd've",
    "it'd've",
    "mightn't've",
    "she'd've",
    "shouldn't've",
    "somebody'd've",
    "someone'd've",
    "something'd've",
    "there'd've",
    "they'd've",
    "we'd've",
    "who'd've",
    "wouldn't've",
    "y'all'll",
    "you'd've",
]
"""With two: the spellings without one of them stand for them."""

TRIPLE = ("'ow's'at", "y'all'd've")
"""With three, likewise."""

SLIP = {"somebody'd": "somebodyd"}
"""An entry that is the wrong way round in the published table; kept, since figures depend on it."""


def without_one(word: str) -> list[str]:
    """The spellings of a word without one of its apostrophes."""
    return [word[:place] + word[place + 1 :] for place, letter in enumerate(word) if letter == "'"]


CONTRACTIONS = {spelling: word for word in (*SINGLE, *DOUBLE, *TRIPLE) for spelling in without_one(word)} | SLIP
"""Spelling -> contraction, as in the table of GT-Vision-Lab/VQA (PythonEvaluationTools/vqaEvaluation/vqaEval.py).

Words whose other spelling is a word of its own (its, were, hell) are not in it.
"""
