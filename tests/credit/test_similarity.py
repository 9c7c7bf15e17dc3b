"""Similarity clusters are those of the plain definition, however they are found."""

from difflib import SequenceMatcher

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from credit.similarity import cluster

texts = st.lists(st.one_of(st.text("abc ", max_size=12), st.text("ab", min_size=200, max_size=230)), max_size=12)


def plain(texts, threshold):
    result, firsts = [], []
    for index, text in enumerate(texts):
        for first in firsts:
            if SequenceMatcher(None, text, texts[first]).ratio() >= threshold:
                result.append(first)
                break
        else:
            firsts.append(index)
            result.append(index)
    return result


@settings(max_examples=80, deadline=None)
@given(texts, st.sampled_from([0.0, 0.3, 0.7, 0.9, 0.95, 1.0]))
def test_clusters_equal_the_plain_definition(texts, threshold):
    assert cluster(texts, threshold).tolist() == plain(texts, threshold)


@pytest.mark.parametrize("texts", [["", ""], ["é🙂", "é🙂", "\ud800"], ["", "a"]])
def test_odd_texts(texts):
    assert cluster(texts, 0.95).tolist() == plain(texts, 0.95)


def test_the_first_member_speaks_for_its_cluster():
    # c is similar to b, which belongs to a's cluster, but not to a
    a, b, c = "abcdefghij", "abcdefghxx", "abcdefyyxx"
    assert cluster([a, b, c], 0.8).tolist() == [0, 0, 2]
