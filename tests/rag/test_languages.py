"""Languages told by common words and script."""

from collections import Counter

import pytest

from rag.languages import STOP_WORDS, candidates_of, language_of, languages_of
from rag.stemming import LANGUAGES

SENTENCES = {
    "english": "the cat was on the mat when it was found by the man who had lost it",
    "german": "die Katze war auf der Matte, als sie von dem Mann gefunden wurde, der sie auch verloren hat",
    "dutch": "de kat zat op het kleed toen zij door de man werd gevonden die haar niet had verloren",
    "french": "le chat était sur le tapis quand il a été trouvé par une femme qui ne le cherchait pas",
    "spanish": "el gato estaba en la alfombra cuando fue encontrado por los hombres que no lo buscaban",
    "portuguese": "o gato foi encontrado por uma mulher que não sabia onde ele era quando os homens saíram",
    "italian": "il gatto era sul tappeto quando è stato trovato dal signore che non lo cercava con gli altri",
    "polish": "kot był na dywanie i nie jest to ten, który się zgubił, kiedy go znaleźli przez okno",
    "danish": "katten var på tæppet, og det er ikke den, som blev fundet af en mand, hvor han også bor",
    "russian": "это была кошка, которую нашли на ковре, когда он не искал её, и что с ней было",
    "persian": "این گربه است که در خانه بود و او آن را از خیابان به خانه آورد",
    "arabic": "هذه القطة كانت في البيت عندما وجدها الرجل الذي لم يكن يبحث عنها على الأرض",
    "hindi": "यह बिल्ली घर में थी और उस आदमी ने इस को नहीं खोया था",
}


def counted(text: str) -> Counter[str]:
    return Counter(text.casefold().replace(",", "").split())


@pytest.mark.parametrize(("language", "text"), SENTENCES.items())
def test_a_sentence_tells_its_language(language: str, text: str) -> None:
    assert language_of(counted(text), "english") == language
    assert candidates_of(counted(text), "english")[0] == language


@pytest.mark.parametrize("text", ["", "boundary layer flow", "print(x) return self", "Kündigungsfrist Probezeit"])
def test_too_little_tells_nothing(text: str) -> None:
    assert candidates_of(counted(text), "english") == ()
    assert language_of(counted(text), "finnish") == "finnish"


def test_a_foreign_title_does_not_make_a_foreign_passage() -> None:
    text = "Der Mann und die Frau mit dem Auto und dem Hund is the title of the film by the studio"
    assert candidates_of(counted(text), "english")[0] == "german"
    assert language_of(counted(text), "english") == "english"


def test_a_script_names_its_languages() -> None:
    assert languages_of("город", "english") == ("russian", "serbian")
    assert languages_of("house", "german")[0] == "german"
    assert sorted(languages_of("house", "german")) == sorted(languages_of("house", "english"))


def test_every_language_with_common_words_has_a_stemmer_or_none_exists() -> None:
    assert set(STOP_WORDS) - LANGUAGES == {"hebrew", "vietnamese"}
