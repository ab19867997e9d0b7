"""Runs of chosen vectors, and the traces of their pairs, for the tests of where a pair stands."""

from dataclasses import replace

import numpy as np
import pandas as pd

from backend.inference.values import Trace
from backend.store import Store, kinds
from backend.types import LayerRef


def ref(text):
    """``ref("vision 4.fusion")``."""
    return LayerRef.parse(*text.split())


def manifest_of(factory, streams, poolings=("mean",), dtype="float32", digest="d1"):
    """The manifest of a run whose model has these streams."""
    from backend.store.manifest import Manifest
    from backend.store.streams import StreamInfo

    raw = factory.make_manifest(poolings=poolings, dtype=dtype).model_dump(mode="json")
    model = {"streams": [StreamInfo.of(spec).model_dump() for spec in streams], "digest": digest}
    raw |= {"model": raw["model"] | model, "placement": None, "seed": None}
    return Manifest.model_validate(raw)


def written(factory, path, manifest, vectors, maps=None):
    """A run of these vectors, {(site, pooling): (n, d)}, and maps, {(site, pooling): (n, 2)}."""
    n = len(next(iter(vectors.values())))
    samples = factory.make_samples(n)
    store = Store.create(path)
    with store.writer(manifest) as writer:
        writer.write_part(samples, {k: v.astype(manifest.dtype) for k, v in vectors.items()})
        if maps is not None:
            parts = [
                pd.DataFrame(
                    {
                        "sample_id": samples["sample_id"].to_pylist(),
                        "stream": site.stream,
                        "layer": site.layer,
                        "site": site.site,
                        "pooling": pooling,
                        "method": "umap",
                        "x": points[:, 0].astype(np.float32),
                        "y": points[:, 1].astype(np.float32),
                    }
                )
                for (site, pooling), points in maps.items()
            ]
            writer.add(kinds.PROJECTIONS, pd.concat(parts, ignore_index=True), "map")
        writer.commit(keep_activations=True)
    return store.run(manifest.run_id)


def stored(run, row):
    """{(site, pooling): (d,)} of one pair of a run."""
    return {
        (site, pooling): run.vectors(site.stream, site, pooling)[row]
        for site, pooling in run.captured()
    }


def trace_of(run, vectors):
    """A trace of these vectors through the model of the run."""
    return Trace(
        model="tiny",
        family="fusion",
        digest=run.manifest.model.digest,
        streams=run.streams,
        vectors={key: np.asarray(vector, np.float32) for key, vector in vectors.items()},
        tokens={},
    )


def moved(run, row, size, seed=0):
    """A new pair: a stored one moved by ``size`` of each site's spread."""
    rng = np.random.default_rng(seed)
    vectors = {}
    for (site, pooling), vector in stored(run, row).items():
        spread = run.vectors(site.stream, site, pooling).std(axis=0)
        vectors[site, pooling] = vector + size * spread * rng.standard_normal(vector.shape)
    return trace_of(run, vectors)


def with_vectors(trace, changes):
    """The same trace with some other vectors."""
    changes = {key: np.asarray(vector, np.float32) for key, vector in changes.items()}
    return replace(trace, vectors={**trace.vectors, **changes})


def at(frame, site, **columns):
    """The one row of a table at a site and with these values."""
    rows = frame[
        frame["stream"].eq(site.stream)
        & frame["layer"].eq(site.layer)
        & frame["site"].eq(site.site)
    ]
    for name, value in columns.items():
        rows = rows[rows[name].eq(value)]
    assert len(rows) == 1, f"{len(rows)} rows at {site}"
    return rows.iloc[0]


def share_below(values, value):
    """The percentile by counting."""
    return 100 * sum(1.0 if v < value else 0.5 if v == value else 0.0 for v in values) / len(values)
