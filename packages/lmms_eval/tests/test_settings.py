"""Generation arguments: honoured, refused or ignored."""

import pytest

from foveal.lmms_eval import Settings


def test_without_arguments():
    assert Settings.of({"until": ["\n\n"], "do_sample": False}) == Settings(1024, 0.0, 1.0, 1, ())
    assert Settings.of({}) == Settings.of(dict.fromkeys(("temperature", "top_p", "num_beams", "top_k")))


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        ({"max_new_tokens": 16, "temperature": 0, "top_p": 0, "num_beams": 1}, Settings(16)),
        ({"temperature": 0.2}, Settings(temperature=0.2)),
        ({"temperature": 0.2, "do_sample": False, "top_k": 5}, Settings()),
        ({"do_sample": True}, Settings(temperature=1.0)),
        ({"do_sample": True, "temperature": 0}, Settings()),
        ({"temperature": 1, "top_p": 0.9, "top_k": 0}, Settings(temperature=1.0, top_p=0.9)),
        ({"num_beams": 3, "length_penalty": 1.0}, Settings(num_beams=3)),
        ({"repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "stop": []}, Settings()),
        ({"until": "."}, Settings(until=(".",))),
        ({"until": ["ASSISTANT:", "\n\n"]}, Settings(until=("ASSISTANT:", "\n\n"))),
    ],
)
def test_honoured(arguments, settings):
    assert Settings.of(arguments) == settings
    assert Settings.of(arguments).ignored == ()


def test_unknown_names_are_kept_to_be_told():
    read = Settings.of({"image_aspect_ratio": "pad", "max_gen_toks": 256, "temperature": 0})
    assert read == Settings()
    assert read.ignored == ("image_aspect_ratio", "max_gen_toks")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"repetition_penalty": 1.2}, "repetition_penalty is 1.2.*--gen_kwargs repetition_penalty=1"),
        ({"temperature": 0.5, "top_k": 40}, "top_k is 40"),
        ({"num_beams": 2, "length_penalty": 0.5}, "length_penalty is 0.5"),
        ({"stop_sequences": ["."]}, "stop_sequences is not supported"),
        ({"max_new_tokens": "long"}, "max_new_tokens is 'long'"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"num_beams": True}, "num_beams is True"),
        ({"temperature": -1}, "temperature is -1"),
        ({"temperature": 1e-5}, "temperature is 1e-05"),
        ({"temperature": float("inf")}, "temperature is inf"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperature": 1, "top_p": 0}, "top_p is 0"),
        ({"until": [".", ""]}, "until is"),
    ],
)
def test_refused(arguments, message):
    with pytest.raises(ValueError, match=f"the generation argument {message}"):
        Settings.of(arguments)


def test_an_answer_ends_at_the_first_of_several_texts():
    settings = Settings(until=("b", "\n\n", "cd"))
    assert [settings.cut(text) for text in ("a\n\nb", "acdb", "a\n", "b")] == ["a", "a", "a\n", ""]
    assert Settings().cut("a\n\nb") == "a\n\nb"
