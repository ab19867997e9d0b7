"""What each page about layers asks, in the sentences with which the page and a report begin."""

from __future__ import annotations

TRANSITIONS = (
    "How much each block changes its stream: the samples at layer k-1 against the same samples at "
    "layer k. Transition k crosses a fusion where block k, or what comes before it, takes another "
    "stream in."
)
ALIGNMENT = (
    "How alike two streams have become: the same samples in a layer of one and in a layer of the "
    "other."
)
SHARED_SPACE = (
    "A layer's tokens go on through the model's own end: final norm, pooler, projection. Dashed "
    "beside it: the layers' own vectors under an orthogonal map that was fitted on half of the "
    "samples. Both are told of the other half, and samples that belong together are never in both. "
    "The band of one run is the 95 % interval over such groups."
)
NO_PAIR = (
    "The chosen runs have one stream; alignment compares two: it takes a model that keeps two "
    "apart, such as vision and text."
)
DIMENSIONALITY = (
    "How many directions the samples of a layer spread over. Where it falls, the layer compresses "
    "or one direction takes over."
)
PROBES = (
    "How much of a label a linear classifier reads from a layer: logistic regression on that "
    "layer's vectors alone, cross-validated over the samples. Where it rises, the model has made "
    "the label easier to read; chance is dotted."
)
NO_LABELS = "The samples of the chosen runs have no labels to probe for."
OF_DEV = "of the dev split: no weight was learned from them, the best epoch was chosen by them."
TRAINING = (
    "How the layers change while a model is trained: measured before training and then after "
    "every epoch, or every few steps."
)
SAE = (
    "Layers of a language model read through sparse autoencoders that know text alone: how well "
    "they rebuild image tokens beside words, with how many features, and which of these an image "
    "shares with its caption. Where the curves meet, vision has become language."
)
