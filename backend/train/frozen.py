"""Outputs of frozen layers, computed once a sample and kept on disk.

The layers of a stream that are frozen *and* lie below its first fusion depend on nothing that
training changes, so they are run once over a split and written to a file; every later epoch, and
every other training whose frozen part is the same (other seeds, other placements above it), reads
the file through a memory map. Frozen layers are in evaluation mode in every training, with or
without the cache, so that both give the same losses.

A file is named after everything that its values depend on: weights and configuration of the frozen
part, layer, the very token ids or resized pixels, numeric type, precision, device kind and library
version. It appears by a rename once it is whole. Text is kept without its padding.

Values are float32 where training runs in full precision (the difference to computing them anew is
that of a batch's padding, 1e-7 of the values), float16 where it runs in mixed precision, which
rounds activations to as many or fewer digits itself.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock

from backend.errors import InputError
from backend.models.dual_stream.model import FusionModel
from backend.train.compute import Compute
from backend.train.examples import Examples
from backend.train.options import GIB, CacheOptions
from backend.train.outputs import FrozenOutputs

log = logging.getLogger(__name__)

VERSION = 2
"""Raised whenever the same inputs would give other files; part of every name."""

_BATCH = 64
_SPARE = 1.05  # of the disk's free room


def cacheable_layers(model: FusionModel, lowest: Mapping[str, int]) -> dict[str, int]:
    """{stream: the highest layer that training does not touch}, where that is at least layer 1.

    Frozen, below the stream's first fusion, and not above ``lowest``, the lowest layer of a stream
    that somebody wants to read. None of an encoder whose blocks hand on more than hidden states.
    """
    fused = {"text": model.placement.text, "vision": model.placement.vision}
    layers = {}
    for stream, upto in model.frozen.items():
        below = min([upto, *(k - 1 for k in fused[stream][:1])])
        layer = min(below, lowest.get(stream, below))
        if layer >= 1 and model.encoder(stream).facts.resumable:
            layers[stream] = layer
    return layers


def open_frozen(
    model: FusionModel,
    examples: Examples,
    layers: Mapping[str, int],
    options: CacheOptions,
    scratch: Path,
    compute: Compute,
) -> dict[str, FrozenOutputs]:
    """The outputs of ``layers`` ({stream: layer}) over a split, computed where no file has them.

    A stream whose file would be larger than ``cache_gib`` or the free room of the disk is left out
    and said to be; it is then computed in every step as if there were no cache.
    """
    if options.frozen_cache == "off" or not layers:
        return {}
    folder = options.cache_dir or scratch
    folder.mkdir(parents=True, exist_ok=True)
    dtype = options.frozen_cache
    if dtype == "auto":
        dtype = "float16" if compute.precision != "no" else "float32"
    opened = {}
    for stream, layer in layers.items():
        outputs = _Filling(model, examples, stream, layer, np.dtype(dtype), compute)
        path = folder / f"{stream}-{layer}-{outputs.key}.npy"
        with FileLock(folder / f"{path.stem}.lock"):
            rows = _read(path, outputs.shape, outputs.dtype)
            if rows is None and _has_room(folder, outputs, options):
                outputs.write(path)
                rows = _read(path, outputs.shape, outputs.dtype)
        if rows is not None:
            with contextlib.suppress(FileNotFoundError):  # another cell made room: it is mapped
                os.utime(path)  # so that what is in use is the last to make room
            opened[stream] = FrozenOutputs(stream, layer, rows, outputs.offsets)
    return opened


class _Filling:
    """One file: what it depends on, how large it is, and writing it."""

    def __init__(
        self,
        model: FusionModel,
        examples: Examples,
        stream: str,
        layer: int,
        dtype: np.dtype,
        compute: Compute,
    ) -> None:
        self.model, self.examples, self.compute = model, examples, compute
        self.stream, self.layer, self.dtype = stream, layer, dtype
        lengths, content = self._content()
        self.offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        encoder = model.encoder(stream)
        self.shape = (int(self.offsets[-1]), encoder.width)
        parts = {
            "version": VERSION,
            "stream": stream,
            "layer": layer,
            "weights": weights_digest(model, stream, layer),
            "content": content,
            "dtype": dtype.name,
            "precision": str(compute.precision),
            "device": compute.device.type,
            "torch": torch.__version__,
        }
        self.key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:20]

    @property
    def nbytes(self) -> int:
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    def _content(self) -> tuple[np.ndarray, str]:
        """Tokens a sample, and a digest of the stream's inputs."""
        examples = self.examples
        if self.stream == "text":
            return examples.token_lengths()
        side, vision = examples.image_size, self.model.vision
        tokens = len(vision.prefix) + vision.grid[0] * vision.grid[1]
        return np.full(len(examples), tokens), f"{side} {examples.pixels_digest()}"

    def write(self, path: Path) -> None:
        """Compute all samples and publish the file; InputError where the disk refuses."""
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            with temporary.open("wb") as file:
                np.lib.format.write_array_header_1_0(
                    file,
                    {
                        "descr": np.lib.format.dtype_to_descr(self.dtype),
                        "fortran_order": False,
                        "shape": self.shape,
                    },
                )
                for rows in self._computed():
                    file.write(rows.tobytes())
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise InputError(
                f"outputs of frozen layers cannot be written ({error.strerror or error})",
                where=str(path.parent),
                hint="Make room, choose another `cache_dir`, or use `frozen_cache` off."
                if full
                else "Choose another `cache_dir`, or use `frozen_cache` off.",
            ) from error
        finally:
            temporary.unlink(missing_ok=True)

    def _computed(self) -> Iterator[np.ndarray]:
        """(tokens, d) of one batch after the other, real tokens only. Leaves no trace."""
        was = self.model.training
        self.model.eval()
        try:
            for start in range(0, len(self.examples), _BATCH):
                indices = range(start, min(start + _BATCH, len(self.examples)))
                yield self._batch(indices)
        finally:
            self.model.train(was)

    def _batch(self, indices: Sequence[int]) -> np.ndarray:
        device = self.compute.device
        part = self.examples.tokens if self.stream == "text" else self.examples.pixels
        inputs = {name: value.to(device) for name, value in part(indices).items()}
        with torch.inference_mode(), self.compute.autocast():
            hidden = self.model.encoder(self.stream).lower(self.layer, inputs).float()
        if self.stream == "text":
            hidden = hidden[inputs["attention_mask"].bool()]
        rounded = hidden.flatten(0, -2).cpu().numpy().astype(self.dtype)
        if len(rounded) != self.offsets[indices[-1] + 1] - self.offsets[indices[0]]:
            raise RuntimeError(f"{self.stream} layer {self.layer} has an unexpected token count")
        if not np.isfinite(rounded).all():
            raise InputError(
                f"{self.stream} layer {self.layer} has values beyond the range of {self.dtype}",
                where="outputs of frozen layers",
                field="frozen_cache",
                hint="Use float32, or off.",
            )
        return rounded


def weights_digest(model: FusionModel, stream: str, layer: int) -> str:
    """A digest of the embeddings and blocks 1..``layer``, and of the encoder's configuration."""
    config = model.config.text if stream == "text" else model.config.vision
    state = hashlib.sha256(json.dumps([config, model.config.image], sort_keys=True).encode())
    for name, values in model.encoder(stream).lower_parameters(layer):
        state.update(f"{name} {tuple(values.shape)} {values.dtype}".encode())
        state.update(values.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return state.hexdigest()


def _read(path: Path, shape: tuple[int, int], dtype: np.dtype) -> np.ndarray | None:
    """The memory-mapped file if it is there and whole."""
    if not path.is_file():
        return None
    try:
        rows: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        log.warning("%s is damaged (%s): computed again", path.name, error)
        path.unlink()
        return None
    return rows if (rows.shape, rows.dtype) == (shape, dtype) else None


def _has_room(folder: Path, outputs: _Filling, options: CacheOptions) -> bool:
    """Say the size, and make room for it if there can be any."""
    what = f"{outputs.stream} layer {outputs.layer} of {len(outputs.examples)} samples"
    size = f"{outputs.nbytes / GIB:.2f} GiB"
    say = options.say or log.info
    if outputs.nbytes <= options.max_bytes:
        _evict(folder, options.max_bytes - outputs.nbytes)
        free = shutil.disk_usage(folder).free
        if outputs.nbytes * _SPARE <= free:
            say(f"keeping the frozen {what}: {size} of {outputs.dtype.name} in {folder}")
            return True
        reason = f"the disk has {free / GIB:.2f} GiB free"
    else:
        reason = f"the limit is {options.max_bytes / GIB:.2f} GiB"
    say(f"not keeping the frozen {what}: {size}, {reason}; computed in every step instead")
    return False


def _evict(folder: Path, most: int) -> None:
    """Delete the files unused for longest until the rest is at most ``most`` bytes."""
    found: list[tuple[float, int, Path]] = []
    for path in folder.glob("*.npy"):
        with contextlib.suppress(FileNotFoundError):  # another cell was faster
            about = path.stat()
            found.append((about.st_mtime, about.st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found):
        if total <= most:
            return
        total -= size
        # Whoever has it mapped keeps it; on systems that refuse to delete a mapped file it stays.
        with contextlib.suppress(PermissionError, FileNotFoundError):
            path.unlink()
