"""Figures, units, names and denials agree, or a share of words says nothing."""

import pytest

from rag.agreement import Agreement, agreement, figures, words_of

SOURCE = "Refunds are paid within 30 days of the purchase, at most 1,250 euros, by Acme Corp in Berlin."
KNOWN = words_of(SOURCE + " Terms of sale")


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("Refunds come within 30 days.", "agrees"),
        ("Refunds come within thirty days.", "agrees"),
        ("Refunds of up to €1250 are paid within 30 days.", "agrees"),
        ("Refunds come within 40 days.", "disagrees"),
        ("Refunds come within 30 hours.", "disagrees"),
        ("Refunds of up to 1,250 dollars are paid.", "disagrees"),
        ("Refunds are paid by Acme Corp.", "agrees"),
        ("Refunds are paid by Globex Corp.", "disagrees"),
        ("Refunds are not paid within 30 days.", "doubtful"),
        ("Refunds are paid, at least 1,250 euros.", "doubtful"),
        ("Refunds, as the Terms say, come within 30 days.", "doubtful"),
    ],
)
def test_what_is_said_of_a_source(sentence: str, expected: Agreement) -> None:
    assert agreement(sentence, SOURCE, KNOWN) == expected


def test_opposites_are_doubtful_in_both_directions() -> None:
    assert agreement("Prices increased.", "Prices decreased.", []) == "doubtful"
    assert agreement("It ran after the start.", "It ran before the start.", []) == "doubtful"
    assert agreement("It runs before and after.", "It runs before and after.", []) == "agrees"


def test_figures_are_read_with_their_units() -> None:
    assert figures("1,250 kg in 2 weeks at 10:30, 5% or 20 °C, v1.2") == {
        ("1250", "kg"), ("2", "week"), ("10:30", ""), ("5", "percent"), ("20", "celsius"),
    }  # fmt: skip
    assert figures("$5 and five euros") == {("5", "dollar"), ("5", "euro")}


def test_a_unit_may_stand_elsewhere() -> None:
    assert agreement("It takes 30 days.", "Days until paid: 30.", []) == "agrees"


def test_the_number_of_an_item_is_no_figure() -> None:
    source = "3. Receive a return number within 2 working days."
    assert agreement("The return period is 3 working days.", source, []) == "disagrees"
    assert agreement("3. A return number comes within 2 working days.", source, []) == "agrees"
    assert agreement("A return number comes within 2 working hours.", source, []) == "disagrees"
