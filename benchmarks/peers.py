"""The part of benchmarks/measures.py that runs inside each interpreter: one tool, one process.

    python benchmarks/peers.py NAME    # a name of CALLS; requests as JSON lines on standard input

A request names a call and an array file, the answer is one JSON line on standard output. It imports
numpy and the one tool that the call needs, so that the same file runs in our environment and in the
peers'. A call takes layers (L, n, d) in float32 and returns the (L, L) matrix; ``batch`` is the
batch size for tools that take their data in batches.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

SIDE = 2048  # of the square matrices whose product is the floor
UNIT = 1024 if sys.platform == "darwin" else 1  # ru_maxrss is in bytes there, in KiB elsewhere


@dataclass(frozen=True)
class Call:
    """One way to ask one tool for a matrix.

    ``says`` is the call as its user would write it, ``estimator`` the formula that its numbers are
    held against, ``batches`` whether a batch size means anything to it.
    """

    tool: str
    says: str
    estimator: str
    function: Callable[..., Any]
    batches: bool = False


# ---- us


def ours(layers: np.ndarray, estimator: str = "debiased") -> Any:
    """cka_matrix; returns (values, z)."""
    from backend.measures import cka_matrix

    result = cka_matrix(list(layers), estimator=estimator)
    return result.values, result.z


def ours_biased(layers: np.ndarray) -> Any:
    """The biased estimator, with its null."""
    return ours(layers, "biased")


def ours_stream(layers: np.ndarray, batch: int) -> Any:
    """CKAStream over batches."""
    from backend.measures import CKAStream

    stream = CKAStream()
    for start in range(0, layers.shape[1], batch):
        stream.update(list(layers[:, start : start + batch]))
    return stream.matrix().values


def ours_components(layers: np.ndarray) -> Any:
    """Components for 95 % of the variance of the first layer."""
    from backend.measures import effective_dimension

    return [[effective_dimension(layers[0], 0.95).value]]


def ours_participation(layers: np.ndarray) -> Any:
    """Participation ratio of the first layer."""
    from backend.measures import participation_ratio

    return [[participation_ratio(layers[0]).value]]


# ---- peers


def as_model(layers: np.ndarray, batch: int) -> Any:
    """A model whose layers give the arrays out again, and a loader that feeds it.

    Tools that only know models are called this way. The loader takes whole batches by index, which
    spares them the collation of single samples.
    """
    import torch
    from torch.utils.data import BatchSampler, DataLoader, SequentialSampler, TensorDataset

    class Features(torch.nn.Module):
        def __init__(self, count: int) -> None:
            super().__init__()
            self.taps = torch.nn.ModuleList(torch.nn.Identity() for _ in range(count))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for index, tap in enumerate(self.taps):
                tap(x[:, index])
            return x

    data = TensorDataset(torch.from_numpy(layers).transpose(0, 1))
    sampler = BatchSampler(SequentialSampler(data), batch, drop_last=False)
    names = [f"taps.{index}" for index in range(len(layers))]
    return Features(len(layers)), names, DataLoader(data, batch_size=None, sampler=sampler)


def pytorch_cka(layers: np.ndarray) -> Any:
    """Its call for features that are already there."""
    import torch
    from cka import cka_from_features

    features = torch.from_numpy(layers)
    return cka_from_features(features, features)


def pytorch_cka_model(layers: np.ndarray, batch: int | None = None) -> Any:
    """Its call for models."""
    from cka import compute_cka

    model, names, loader = as_model(layers, batch or layers.shape[1])
    return compute_cka(model, model, loader, layers=names, device="cpu", progress=False)[0]


def torch_cka(layers: np.ndarray, batch: int | None = None) -> Any:
    """It has no other call than the one for models."""
    from torch_cka import CKA

    model, names, loader = as_model(layers, batch or layers.shape[1])
    comparison = CKA(model, model, "a", "b", names, names, device="cpu")
    comparison.compare(loader)
    return comparison.export()["CKA"]


def repsim_gretton(layers: np.ndarray) -> Any:
    """Biased HSIC."""
    import repsim

    return repsim.cka(list(layers), kernel_type="linear", estimator="gretton")


def repsim_song(layers: np.ndarray) -> Any:
    """Debiased HSIC."""
    import repsim

    return repsim.cka(list(layers), kernel_type="linear", estimator="song")


def ckatorch_base(layers: np.ndarray, unbiased: bool = True) -> Any:
    """Pair by pair, each pair once: it has no call for many layers of ready features."""
    import torch
    from ckatorch import cka_base

    features = torch.from_numpy(layers)
    values = np.eye(len(layers))
    for i in range(len(layers)):
        for j in range(i + 1, len(layers)):
            value = cka_base(features[i], features[j], unbiased=unbiased)
            values[i, j] = values[j, i] = float(value)
    return values


def ckatorch_biased(layers: np.ndarray) -> Any:
    """Its default estimator."""
    return ckatorch_base(layers, unbiased=False)


def ckatorch_batch(layers: np.ndarray, batch: int) -> Any:
    """Its minibatch function, on all batches at once."""
    import torch
    from ckatorch import cka_batch

    size, n, d = layers.shape
    parts = torch.from_numpy(layers).reshape(size, n // batch, batch, d)
    return [[float(cka_batch(x, y)) for y in parts] for x in parts]


def ckatorch_model(layers: np.ndarray, batch: int) -> Any:
    """Its call for models."""
    from ckatorch import CKA

    model, names, loader = as_model(layers, batch)
    return CKA(model, model, names)(loader, epochs=1)


def rsatoolbox_cka(layers: np.ndarray) -> Any:
    """RDMs of all layers, then their whitened cosine, which is biased linear CKA."""
    from rsatoolbox.data import Dataset
    from rsatoolbox.rdm import calc_rdm, compare

    rdms = calc_rdm([Dataset(layer) for layer in layers], method="euclidean")
    return compare(rdms, rdms, method="cosine_cov")


def skdim_components(layers: np.ndarray) -> Any:
    """Components for 95 % of the variance of the first layer."""
    from skdim.id import lPCA

    return [[lPCA(ver="ratio", alphaRatio=0.95).fit(layers[0]).dimension_]]


def skdim_participation(layers: np.ndarray) -> Any:
    """Participation ratio of the first layer."""
    from skdim.id import lPCA

    return [[lPCA(ver="participation_ratio").fit(layers[0]).dimension_]]


# ---- what they are held against


def truth(layers: np.ndarray) -> dict[str, Any]:
    """Both estimators from their definitions, all float64, sharing no code with backend."""
    x = layers.astype(np.float64)
    x -= x.mean(axis=1, keepdims=True)
    x /= np.linalg.norm(x, axis=(1, 2), keepdims=True)
    size, n, _ = x.shape
    diagonal, rows = np.empty((size, n)), np.empty((size, n))
    products = np.zeros((size, size))  # of the Grams without their diagonals
    for start in range(0, n, 128):
        at = np.arange(start, min(start + 128, n))
        gram = x[:, at] @ x.transpose(0, 2, 1)
        diagonal[:, at] = gram[:, at - start, at]
        gram[:, at - start, at] = 0
        rows[:, at] = gram.sum(axis=2)
        flat = gram.reshape(size, -1)
        products += flat @ flat.T
    sums = rows.sum(axis=1)
    unbiased = products + np.outer(sums, sums) / ((n - 1) * (n - 2)) - 2 / (n - 2) * rows @ rows.T
    biased = products + diagonal @ diagonal.T
    return {
        name: (h / np.sqrt(np.outer(np.diag(h), np.diag(h)))).tolist()
        for name, h in (("debiased", unbiased), ("biased", biased))
    }


def numpy_product(multiply_adds: float) -> tuple[float, float]:
    """Seconds of clock and cores for so many multiply-adds in numpy's float32 matrix product."""
    a = np.random.default_rng(0).standard_normal((SIDE, SIDE), dtype=np.float32)
    out = np.empty_like(a)
    return _repeat(lambda: np.matmul(a, a, out=out), multiply_adds)


def torch_product(multiply_adds: float) -> tuple[float, float]:
    """The same with torch's."""
    import torch

    a = torch.randn(SIDE, SIDE)
    out = torch.empty_like(a)
    return _repeat(lambda: torch.mm(a, a, out=out), multiply_adds)


def _repeat(product: Callable[[], object], multiply_adds: float) -> tuple[float, float]:
    turns = max(1, min(12, round(multiply_adds / SIDE**3)))
    product()
    busy, start = time.process_time(), time.perf_counter()
    for _ in range(turns):
        product()
    scale = multiply_adds / (turns * SIDE**3)
    return (time.perf_counter() - start) * scale, (time.process_time() - busy) * scale


def make(path: str, shape: list[int], seed: int, **how: Any) -> None:
    """Write an array of layers (L, n, d).

    related: all layers share a part, and the variance falls off along the columns; otherwise they
    are independent. offset, scale: (values + offset) · scale. massive: one coordinate of the first
    layer carries a constant +200, one of the second 3000 + 30 times its values.
    """
    rng = np.random.default_rng(seed)
    size, n, d = shape
    layers = rng.standard_normal((size, n, d), dtype=np.float32)
    if how.get("related"):
        layers += 1.5 * rng.standard_normal((n, d), dtype=np.float32)
        layers *= (1 + np.arange(d, dtype=np.float32) / 8) ** -0.5
    if how.get("massive"):
        layers[0, :, 3] += 200
        layers[1, :, 5] = 3000 + 30 * layers[1, :, 5]
    layers += np.float32(how.get("offset", 0.0))
    layers *= np.float32(how.get("scale", 1.0))
    np.save(path, layers)


DEBIASED, BIASED = "debiased", "biased"

CALLS = {
    "fusionscope": Call("fusionscope", "cka_matrix(layers)", DEBIASED, ours),
    "fusionscope, biased": Call(
        "fusionscope", 'cka_matrix(layers, estimator="biased")', BIASED, ours_biased
    ),
    "fusionscope, stream": Call(
        "fusionscope", "CKAStream().update(batch) ... .matrix()", DEBIASED, ours_stream, True
    ),
    "pytorch-cka": Call(
        "pytorch-cka", "cka_from_features(x, x) of (L, n, d)", DEBIASED, pytorch_cka
    ),
    "pytorch-cka, model": Call(
        "pytorch-cka",
        "compute_cka(model, model, loader, layers=...)",
        DEBIASED,
        pytorch_cka_model,
        True,
    ),
    "torch-cka": Call(
        "torch-cka", "CKA(model, model, ...).compare(loader)", DEBIASED, torch_cka, True
    ),
    "repsim, gretton": Call(
        "repsim", 'cka(layers, "linear", "gretton"), float64', BIASED, repsim_gretton
    ),
    "repsim, song": Call("repsim", 'cka(layers, "linear", "song"), float64', DEBIASED, repsim_song),
    "ckatorch": Call(
        "ckatorch", "cka_base(x, y, unbiased=True) for i < j, float64", DEBIASED, ckatorch_base
    ),
    "ckatorch, biased": Call(
        "ckatorch", "cka_base(x, y) for i < j, float64", BIASED, ckatorch_biased
    ),
    "ckatorch, batch": Call(
        "ckatorch", "cka_batch(x (m, b, d), y)", DEBIASED, ckatorch_batch, True
    ),
    "ckatorch, model": Call(
        "ckatorch", "CKA(model, model, layers)(loader, epochs=1)", DEBIASED, ckatorch_model, True
    ),
    "rsatoolbox": Call(
        "rsatoolbox", 'compare(rdms, rdms, "cosine_cov"), euclidean RDMs', BIASED, rsatoolbox_cka
    ),
    "fusionscope, components": Call(
        "fusionscope", "effective_dimension(x, 0.95)", "components", ours_components
    ),
    "fusionscope, participation": Call(
        "fusionscope", "participation_ratio(x)", "participation ratio", ours_participation
    ),
    "scikit-dimension, components": Call(
        "scikit-dimension",
        'lPCA(ver="ratio", alphaRatio=0.95).fit(x)',
        "components",
        skdim_components,
    ),
    "scikit-dimension, participation": Call(
        "scikit-dimension",
        'lPCA(ver="participation_ratio").fit(x)',
        "participation ratio",
        skdim_participation,
    ),
}
PRODUCTS = {"numpy": numpy_product, "torch": torch_product}


def blas() -> str:
    """Which kernels numpy's matrix products run on, and on how many threads."""
    from threadpoolctl import threadpool_info

    np.ones((4, 4)) @ np.ones((4, 4))
    found = [i for i in threadpool_info() if i["user_api"] == "blas"]
    return "; ".join(
        f"{i['internal_api']} {i['version']}, {i.get('architecture')} kernels, "
        f"{i['num_threads']} threads"
        for i in found
    )


def peak_mib() -> float:
    """The most memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / UNIT / 1024


class Worker:
    """Answers requests about one call."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.layers = np.empty(0, dtype=np.float32)

    def load(self, path: str) -> dict[str, Any]:
        """Read the arrays, and let the tool import what it imports: neither is timed."""
        self.layers = np.load(path)
        if self.name in PRODUCTS:
            PRODUCTS[self.name](1.0)
        else:
            small = np.random.default_rng(1).standard_normal((3, 16, 8), dtype=np.float32)
            CALLS[self.name].function(small, **({"batch": 16} if CALLS[self.name].batches else {}))
        return {}

    def run(self, batch: int | None = None) -> dict[str, Any]:
        """Seconds, memory above what was there before, and the matrix."""
        call = CALLS[self.name]
        options = {"batch": batch or self.layers.shape[1]} if call.batches else {}
        before, busy, start = peak_mib(), time.process_time(), time.perf_counter()
        found = call.function(self.layers, **options)
        seconds, busy, after = (
            time.perf_counter() - start,
            time.process_time() - busy,
            peak_mib(),
        )
        values, z = found if isinstance(found, tuple) else (found, None)
        return {
            "seconds": seconds,
            "cpu_s": busy,
            "mib": after - before,
            "values": np.asarray(values, dtype=np.float64).tolist(),
            "z": None if z is None else np.asarray(z).tolist(),
        }

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Dispatch one request."""
        kind = request.pop("do")
        if kind == "load":
            return self.load(**request)
        if kind == "run":
            return self.run(**request)
        if kind == "product":
            seconds, cpu_s = PRODUCTS[self.name](**request)
            return {"seconds": seconds, "cpu_s": cpu_s}
        if kind == "make":
            make(**request)
            return {}
        if kind == "truth":
            return truth(np.load(request["path"]))
        if kind == "blas":
            return {"blas": blas()}
        raise ValueError(f"unknown request {kind!r}")


def main() -> None:
    """Answer requests until standard input ends."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("--memory-gib", type=float, default=0.0)
    options = parser.parse_args()
    if options.memory_gib and sys.platform == "linux":
        limit = int(options.memory_gib * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    answers, sys.stdout = sys.stdout, sys.stderr  # tools print
    worker = Worker(options.name)
    for line in sys.stdin:
        try:
            answer = worker.answer(json.loads(line))
        except Exception as error:  # whatever a peer does is a result
            text = str(error).strip().splitlines()
            answer = {"error": f"{type(error).__name__}: {text[0] if text else ''}".rstrip(": ")}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
