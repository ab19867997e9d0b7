"""What is said before a training of texts that are longer than what it takes of them."""

from __future__ import annotations

import pytest

from backend.data import open_source
from backend.models.dual_stream.preprocess import Preprocessor, train_tokenizer
from backend.train.examples import Examples


@pytest.mark.parametrize(("own", "offer"), [(512, ", this text encoder up to 512"), (10**30, "")])
@pytest.mark.parametrize("length", [4, 500])
def test_how_many_texts_are_cut_is_said_with_the_encoders_own_length(caplog, length, own, offer):
    source = open_source("macros:n=20")
    texts = [record.text for record in source.records("train", 10)]
    tokenizer = train_tokenizer(texts)
    tokenizer.model_max_length = own
    image = {"size": 16, "mean": [0.5] * 3, "std": [0.5] * 3}
    Examples(source, "train", [], Preprocessor(tokenizer, image, length), 10)
    if length == 500:
        assert caplog.messages == []
        return
    longest = max(len(tokenizer(text)["input_ids"]) for text in texts)
    assert caplog.messages == [
        f"10 of 10 texts of split train (100 %) are cut at 4 tokens, the longest has {longest}: "
        f"max_text_length takes more{offer}"
    ]
