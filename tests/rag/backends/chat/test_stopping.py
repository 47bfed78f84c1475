"""Stop strings across pieces of text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rag.backends.chat.stopping import StopStrings

pieces = st.lists(st.text(alphabet="abc", max_size=4), max_size=12)
stops = st.lists(st.text(alphabet="abc", max_size=3), max_size=3)


@given(pieces, stops)
def test_the_text_before_the_first_stop_is_passed_on_however_it_is_cut(pieces: list[str], stops: list[str]) -> None:
    passing = StopStrings(stops)
    passed = ""
    for piece in pieces:
        passed += passing.pass_on(piece)
        if passing.is_met:
            break
    else:
        passed += passing.rest()
    # The stop that is complete first decides, as it does for a model that sees each character once.
    whole = "".join(pieces)
    ends = [(at + len(stop), at) for stop in stops if stop and (at := whole.find(stop)) >= 0]
    assert passing.is_met == bool(ends)
    if not ends:
        assert passed == whole
    else:
        assert whole.startswith(passed)
        assert len(passed) in {at for _, at in ends}
