"""Pieces of results become one list, in the order of the items and whatever theirs."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from amorsize.collect import in_one_list
from amorsize.source import Piece


@st.composite
def cut_and_shuffled(draw: st.DrawFn) -> tuple[list[int], list[Piece]]:
    values = draw(st.lists(st.integers(), max_size=50))
    cuts = sorted(draw(st.sets(st.integers(0, len(values)))) | {0, len(values)})
    pieces = [(a, values[a:b]) for a, b in pairwise(cuts)]
    return values, draw(st.permutations(pieces))


@given(cut_and_shuffled())
def test_all_pieces_in_any_order_are_the_whole(case: tuple[list[int], list[Piece]]) -> None:
    values, pieces = case
    assert in_one_list(pieces) == values
    assert in_one_list(pieces, len(values)) == values


@given(cut_and_shuffled())
def test_without_a_piece_the_others_keep_their_order(case: tuple[list[int], list[Piece]]) -> None:
    values, pieces = case
    if not pieces:
        return
    (start, lost), *others = pieces
    rest = values[:start] + values[start + len(lost) :]
    assert in_one_list(others, len(values)) == rest
    assert in_one_list(others) == rest
