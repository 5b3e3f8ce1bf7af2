import faiss
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from index_builder.vector_index import IndexRequest, choose_kind
from index_builder.vector_index.choice import factory_for, needed_bytes
from index_builder.vector_index.faiss_files import empty_index
from model.errors import ConfigError

GIB = 2**30
EXACTNESS = {"exact": 2, "hnsw": 1, "ivf": 0}

counts = st.integers(1, 50_000_000)
dims = st.integers(8, 2048)
memories = st.integers(GIB, 512 * GIB)
recalls = st.floats(0.5, 1.0)


def chosen(count, dim, memory_bytes, recall):
    try:
        return choose_kind(count, dim, memory_bytes=memory_bytes, recall=recall)
    except ConfigError:
        return None


@given(counts, dims, memories, recalls)
def test_what_is_chosen_fits_into_the_memory(count, dim, memory, recall):
    kind = chosen(count, dim, memory, recall)
    assume(kind is not None)
    assert needed_bytes(kind, count, dim) <= memory


@given(counts, dims, memories, memories, recalls)
def test_more_memory_never_leads_to_a_kind_of_less(count, dim, memory, more, recall):
    kind, with_more = (chosen(count, dim, size, recall) for size in sorted((memory, more)))
    assume(kind is not None)
    assert EXACTNESS[with_more] >= EXACTNESS[kind]


@given(counts, counts, dims, memories, recalls)
def test_more_rows_never_lead_to_a_kind_of_more(count, other, dim, memory, recall):
    few, many = (chosen(number, dim, memory, recall) for number in sorted((count, other)))
    if few is None:
        assert many is None
    elif many is not None:
        assert EXACTNESS[many] <= EXACTNESS[few]


@given(counts, dims, memories)
def test_a_recall_of_one_is_exact_or_refused(count, dim, memory):
    assert chosen(count, dim, memory, 1.0) in ("exact", None)


def test_small_galleries_are_exact_and_a_million_fits_24_gib():
    assert choose_kind(100_000, 1024, memory_bytes=GIB, recall=0.5) == "exact"
    assert choose_kind(1_000_000, 1024, memory_bytes=24 * GIB, recall=0.95) == "hnsw"
    assert choose_kind(1_000_000, 1024, memory_bytes=4 * GIB, recall=0.95) == "ivf"
    with pytest.raises(ConfigError, match=r"memory = 1.0GiB: the kind ivf .* give --memory"):
        choose_kind(1_000_000, 1024, memory_bytes=GIB, recall=0.95)


@pytest.mark.parametrize("kind", ["exact", "hnsw", "ivf"])
@pytest.mark.parametrize("count", [1, 39, 1000, 1_000_000])
def test_faiss_knows_every_kind(kind, count):
    index = empty_index(factory_for(kind, count), 64)
    lists = faiss.try_extract_index_ivf(index)
    assert lists is None or 1 <= lists.nlist <= max(1, count // 39)


def test_an_expert_gives_a_factory_string_and_no_kind():
    assert IndexRequest(factory="IVF64,SQ8").kind_for(10, 16) == "factory"
    assert IndexRequest(kind="ivf").kind_for(10, 16) == "ivf"
    assert IndexRequest().kind_for(10, 16) == "exact"
    with pytest.raises(ConfigError, match="give one of the two"):
        IndexRequest(kind="ivf", factory="IVF64,SQ8").kind_for(10, 16)
    for factory in ("SQ8", "PCA8,IVF64,SQ8", "HNSW32,SQ8"):
        with pytest.raises(ConfigError, match=r"for 9,000,000,000 vectors takes about .*GiB"):
            IndexRequest(factory=factory, memory_bytes=GIB).kind_for(9_000_000_000, 16)
