"""The measures of a layer that follow from its spectrum, whichever are registered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from backend.errors import InputError
from backend.measures.core.base import Float64, as_representation, prepare, same_samples
from backend.measures.core.parallel import map_pieces
from backend.measures.families.dimension import spectra
from backend.measures.registry import MEASURES, Arguments
from backend.measures.suite.layers import Layers, place, site_name
from backend.measures.suite.rows import Row, Table, tidy_row
from backend.measures.suite.sites import SiteFacts, site_facts
from backend.remarks import Remarks

Asked = Mapping[str, Arguments]


def of_spectrum() -> Asked:
    """The measures that need no more than a layer's spectrum, as the default preset calls them."""
    return {name: one.arguments for name, one in MEASURES.items() if one.of_spectrum}


def dimension_rows(layers: Layers, asked: Asked) -> Table:
    """The ``asked`` measures ({name: arguments}) of every site, site by site.

    One eigen-decomposition a layer, in float64, which the effective rank needs; memory 8nd bytes
    of one layer a core, and its decomposition. InputError names the layer that cannot be used.
    """
    refs = layers.refs
    if not refs:
        raise InputError("no layers were given", where="layers")
    names = [site_name(ref) for ref in refs]
    arrays = [
        as_representation(layers.arrays[r], name) for r, name in zip(refs, names, strict=True)
    ]
    same_samples(arrays, names)

    def of_layer(at: int) -> list[Row]:
        facts = prepare(arrays[at], names[at])
        (site,) = site_facts([refs[at]], [facts], layers.pooling, layers.modalities)
        (shares,) = spectra([facts])
        return [*spectrum_rows(site, shares, asked)]

    work = sum(float(x.size * min(x.shape)) for x in arrays)
    return Table([row for rows in map_pieces(of_layer, range(len(refs)), work) for row in rows])


def spectrum_rows(site: SiteFacts, shares: Float64, asked: Asked) -> Iterator[Row]:
    """The ``asked`` measures of a layer whose spectrum is known."""
    for name, arguments in asked.items():
        result = MEASURES[name].from_spectrum(site.facts, shares, site.name, **arguments)
        named = replace(
            result,
            pooling=site.pooling,
            reason=Remarks.of(site.reason),
            warnings=result.warnings.at({site.name: (place(site.ref),)}),
        )
        yield tidy_row(named, site.ref)
