"""An index of every kind, built once for all tests of this folder."""

import pytest

from tests.unit.index_builder.vector_index.clusters import BEFORE, KINDS, build, clustered_rows


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Where the files of each kind are to lie, by kind and factory string."""
    folder = tmp_path_factory.mktemp("kinds")
    return {pair: folder / str(place) for place, pair in enumerate(KINDS)}


@pytest.fixture(scope="session")
def built(folders):
    """An index of each kind over all rows; not to be changed."""
    return {pair: build(*pair, folder) for pair, folder in folders.items()}


@pytest.fixture(scope="session")
def built_before(tmp_path_factory):
    """An index of each kind over all rows but the last 300, and its folder; not to be changed."""
    folder, rows = tmp_path_factory.mktemp("before"), clustered_rows()[:BEFORE]
    return {
        pair: (build(*pair, folder / str(place), rows=rows), folder / str(place))
        for place, pair in enumerate(KINDS)
    }
