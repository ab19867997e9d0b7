"""A tiny Whisper that hears one second."""

from __future__ import annotations

import numpy as np
import torch
from transformers import (
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)

from backend.data.sample import Audio, Sample
from backend.models.families.whisper import Whisper
from tests.models.families.common import Case, texts

STARTS = ("<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>", "<|transcribe|>")


def tokenizer() -> WhisperTokenizer:
    """One token a letter: byte pairs without a merge."""
    letters = [*(chr(code) for code in range(33, 127)), "Ġ"]
    made = WhisperTokenizer(
        vocab={word: at for at, word in enumerate([*letters, *STARTS])},
        merges=[],
        pad_token=STARTS[0],
        additional_special_tokens=list(STARTS[1:]),
    )
    made.set_prefix_tokens(predict_timestamps=False)
    return made


def recordings(n: int) -> list[Audio]:
    """Chirps of different lengths and rates, all shorter than a second."""
    made = []
    for i in range(n):
        rate, seconds = (16000, 8000, 22050)[i % 3], 0.35 + 0.15 * i
        t = np.arange(int(rate * seconds)) / rate
        wave = np.sin(2 * np.pi * (200 + 150 * i + 400 * t) * t) * 0.5
        made.append(Audio(wave.astype(np.float32), rate))
    return made


def tiny() -> Case:
    words = tokenizer()
    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=len(words),
        num_mel_bins=16,
        d_model=16,
        encoder_layers=2,
        decoder_layers=3,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_source_positions=50,
        max_target_positions=64,
        init_std=0.3,
        pad_token_id=words.pad_token_id,
        bos_token_id=words.bos_token_id,
        eos_token_id=words.eos_token_id,
        decoder_start_token_id=words.convert_tokens_to_ids("<|startoftranscript|>"),
    )
    processor = WhisperProcessor(WhisperFeatureExtractor(feature_size=16, chunk_length=1), words)
    adapter = Whisper(WhisperForConditionalGeneration(config), processor, "tiny-whisper")
    samples = [
        Sample(text, audio=audio) for text, audio in zip(texts(4), recordings(4), strict=True)
    ]
    states = {"audio": "encoder_hidden_states", "text": "decoder_hidden_states"}
    return Case(adapter, samples, states)
