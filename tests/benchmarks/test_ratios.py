"""The arithmetic of comparisons."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import ratios
from benchmarks.ratios import Ratio

FIGURES = st.floats(min_value=1e-9, max_value=1e9)


def test_the_ratio_is_the_median_of_the_pairs_not_the_ratio_of_the_medians():
    # A machine that slows down: each pair is 0.5 but the first, in which the peer was disturbed.
    found = ratios.of_pairs([(1.0, 10.0), (2.0, 4.0), (8.0, 16.0)])
    assert found == Ratio(median=0.5, low=0.1, high=0.5, pairs=3)


@pytest.mark.parametrize("bad", [(math.nan, 1.0), (1.0, math.nan), (0.0, 1.0), (1.0, 0.0), (1.0, math.inf)])
def test_a_pair_with_a_figure_that_is_none_counts_for_nothing(bad):
    assert ratios.of_pairs([bad]) is None
    assert ratios.of_pairs([bad, (3.0, 2.0)]) == Ratio(1.5, 1.5, 1.5, 1)


@given(st.lists(st.tuples(FIGURES, FIGURES), min_size=1))
def test_half_of_the_pairs_are_on_each_side_of_the_median(pairs):
    found = ratios.of_pairs(pairs)
    quotients = [first / second for first, second in pairs]
    assert found.low <= found.median <= found.high
    assert 2 * sum(quotient <= found.median for quotient in quotients) >= len(pairs)
    assert 2 * sum(quotient >= found.median for quotient in quotients) >= len(pairs)


def test_the_best_peer_is_the_one_against_which_the_ratio_is_highest():
    low, high = Ratio(0.5, 0.4, 0.6, 5), Ratio(0.9, 0.8, 1.0, 5)
    assert ratios.against_best([low, None, high]) is high
    assert ratios.against_best([None]) is None


def test_the_median_passes_over_what_is_not_a_number():
    assert ratios.median([3.0, math.nan, 1.0, 2.0]) == 2.0
    assert math.isnan(ratios.median([math.nan]))


@pytest.mark.parametrize(
    ("figure", "aim", "said"),
    [
        (0.50, 0.5, "aim met"),
        (0.51, 0.5, "reached"),
        (0.60, None, "reached"),
        (0.66, 0.5, "missed by 10%"),
    ],
)
def test_the_verdict(figure, aim, said):
    assert ratios.verdict(figure, 0.6, aim) == said
