"""The language of a text, told by its script and its commonest words, and those words.

They are few on purpose: the words that nearly every passage of a language has, and those that questions begin with.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import regex

MIN_SHARE = 0.05  # of a text's words that are common words of its language
MIN_DIFFERENT = 4  # common words that tell the language of a passage
RIVAL = 0.5  # of the likeliest language's share makes another one possible


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


STOP_WORDS = {
    "arabic": _words(
        "في من على إلى الى أن ان عن مع هذا هذه التي الذي كان كانت ما هل هو هي كم لم لا قد بعد بين كل أو ثم حيث "
        "كما منذ متى كيف ماذا أين وفي ومن وهو وهي غير خلال عند حتى"
    ),
    "armenian": _words(
        "եւ է որ եմ են էր այս այդ այն նա մի ու ի ինչ ինչպես համար մեջ հետ իր նրա կամ բայց երբ որպես չի ով"
    ),
    "basque": _words(
        "eta da ez du bat zen ere dira dute dago baina egin hau izan zuen duen zer nola non edo beste bere ziren zuten"
    ),
    "catalan": _words(
        "el la els les de del dels i que és en un una per amb va al als no es són com més quin quina què on quan "
        "han seva aquest aquesta però"
    ),
    "czech": _words(
        "a je se v na že to s z do o i ve který která které pro jak za po by byl byla bylo jsou ale jako jeho kdy "
        "kde co od při není než také aby"
    ),
    "danish": _words(
        "og i at det er en til af på som med for den de der et ikke var har om fra han blev hvad hvor hvordan "
        "hvornår eller efter ved kan men også"
    ),
    "dutch": _words(
        "de het een en van in is dat op te zijn met voor niet aan er door was als bij ook naar om uit wordt werd "
        "hoe wat waar wie welke wanneer hoeveel hun dit deze die"
    ),
    "english": _words(
        "a an and are as at be but by for from has have how i if in into is it its no not of on or s such t that "
        "the their then there these they this to was we were what when where which who why will with would you "
        "your"
    ),
    "esperanto": _words(
        "la kaj de en estas al por ne kiu kiuj ĝi estis kun sed ke kiel per li ili oni plej tiu tio kio"
    ),
    "estonian": _words(
        "ja on ei et see oli mis kui ka ta oma selle kes aga või ning nad seda siis kuidas kus olid tema mida ole"
    ),
    "finnish": _words(
        "ja on ei että se oli joka mutta kun hän ovat ole myös tai kuin jotka sen olivat mikä missä miten milloin "
        "kuka sekä hänen voi mitä jonka"
    ),
    "french": _words(
        "de la le et les des en un une du dans est que pour qui par au sur il a pas plus aux ce sont avec se été "
        "ne ses cette quel quelle quels quelles comment où quand combien ou ont était son sa"
    ),
    "german": _words(
        "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an werden aus "
        "er hat dass sie nach wird bei einer um am sind noch wie einem über was wer wo wann welche welcher "
        "welches wurde war oder wurden zum zur viele warum"
    ),
    "greek": _words(
        "και το να του η τησ με για την από που τον είναι των στο στην ο οι τα ένα μια σε δεν ήταν τι πώσ ποιοσ "
        "ποια ποιο πόσο πόσα πότε πού ωσ τουσ τισ στη κατά"
    ),
    "hebrew": _words("של את על לא הוא היא זה עם גם או כי אל היה אם מה מי איך כמה מתי היכן אשר בין כל יותר אך"),
    "hindi": _words(
        "के में है की और से का को पर हैं ने यह एक था कि लिए नहीं भी इस थे थी ही जो तो या कर किया गया क्या कैसे "
        "कौन कब कहाँ किस अपने वह जाता द्वारा साथ"
    ),
    "hungarian": _words(
        "a az és hogy nem is egy volt ez meg van de csak ki mi mely mint vagy milyen mikor hol hogyan azt el már "
        "voltak által között után"
    ),
    "indonesian": _words(
        "yang dan di dari untuk dengan pada adalah ini itu dalam tidak ke sebagai oleh atau juga akan apa siapa "
        "bagaimana kapan mana telah karena ada bisa mereka tersebut"
    ),
    "irish": _words("an na agus is ar le sé bhí go ag i ní do ach tá don den sin seo cad conas cén níl iad a"),
    "italian": _words(
        "di e che il la in un è per del non una della con si da dei le al i sono nel alla più come ha delle anche "
        "gli dal quale quali cosa dove quando chi quanti quante era stato"
    ),
    "lithuanian": _words(
        "ir kad yra iš į su tai kaip buvo bet ar nuo jis už apie po per tik arba kas ji jų kur kurie jo dėl kai"
    ),
    "nepali": _words("छ लागि भने पनि गर्न छन् थियो भएको गरेको यो त्यो हुन् तथा बाट सँग कसरी कहाँ गरिएको हरू थिए छैन मा हो र"),
    "norwegian": _words(
        "og i det er en til av på som med for den de ikke var har om fra han ble hva hvor hvordan når eller etter "
        "ved kan men også et sin seg"
    ),
    "persian": _words(
        "و در به از که این را با است برای آن یک بود شد خود تا بر هم نیز شده هر ها او چه کجا چگونه چند کدام اما می "
        "های باشد"
    ),
    "polish": _words(
        "i w na z się do nie że jest to o jak po co za od ale dla przez jako czy był była było są jego oraz który "
        "która które gdzie kiedy ile kto może ich"
    ),
    "portuguese": _words(
        "de a o e que do da em um para com não uma os no na por mais as dos como mas ao foi das à é são sua ou "
        "ser quando qual quais onde quem quanto pelo pela entre era foram"
    ),
    "romanian": _words(
        "de și în la a cu pe care din că nu o este un pentru ce au fost mai lui sau prin sunt ca se dintre ai "
        "câte cine cum când unde al ale lor cât"
    ),
    "russian": _words(
        "и в на что с по как из к для это от о за а он но его так был было или у же до при были все который "
        "которые какой какие сколько кто где когда почему чем также была их не"
    ),
    "serbian": _words(
        "је су са што али који која које или био била било шта како где када ово због није њ koji koja koje šta "
        "gdje gde kada bilo nije ovo zbog kako sa su je ili bio bila"
    ),
    "spanish": _words(
        "de la que el en y a los del se las por un para con no una su al lo como más es pero sus le ya o fue este "
        "ha qué cuál cuántos cuántas quién cómo cuándo dónde son está era desde entre sobre"
    ),
    "swedish": _words(
        "och i att det är en som på av för med den till inte var har om ett de från han vad hur när vem vilken "
        "vilka eller efter vid kan men också blev sin"
    ),
    "tamil": _words("மற்றும் ஒரு இந்த என்று அது அந்த இது என அவர் உள்ள ஆகும் என்ன எப்படி எங்கே யார் இருந்து மேலும் கொண்டு அல்லது பல"),
    "turkish": _words(
        "ve bir bu için ile da de olarak ne olan gibi daha çok en kadar sonra olduğu ise ya veya nedir kim nasıl "
        "nerede hangi kaç zaman neden mi mı değil her o tarafından"
    ),
    "vietnamese": _words(
        "và của là các trong được có cho những một với không này đã để người từ đến khi như vào ra ở về ai gì nào "
        "bao nhiêu đâu theo tại bởi"
    ),
    "yiddish": _words("און איז די דער דאָס דאס פון פֿון אין צו מיט נישט האט ער איך זיי וואָס ווי אַ"),
}

# The first of a script is what its words are taken for where nothing tells.
_SCRIPTS = (
    (regex.compile(r"\p{Cyrillic}"), ("russian", "serbian")),
    (regex.compile(r"\p{Greek}"), ("greek",)),
    (regex.compile(r"\p{Arabic}"), ("arabic", "persian")),
    (regex.compile(r"\p{Devanagari}"), ("hindi", "nepali")),
    (regex.compile(r"\p{Hebrew}"), ("hebrew", "yiddish")),
    (regex.compile(r"\p{Armenian}"), ("armenian",)),
    (regex.compile(r"\p{Tamil}"), ("tamil",)),
)
_OTHER_SCRIPTS = {language for _, languages in _SCRIPTS for language in languages} - {"serbian"}
LATIN = tuple(language for language in STOP_WORDS if language not in _OTHER_SCRIPTS)

# Single Latin letters are initials and variables more often than words.
_HINTS: dict[str, list[str]] = {}
for _language, _common in STOP_WORDS.items():
    for _word in _common:
        if len(_word) > 1 or not _word.isascii():
            _HINTS.setdefault(_word, []).append(_language)


@cache
def latin(default: str) -> tuple[str, ...]:
    """The languages in Latin letters, `default` first."""
    return (default, *(language for language in LATIN if language != default))


def languages_of(word: str, default: str) -> tuple[str, ...]:
    """The languages whose script a word is written in, the likeliest first: for Latin and unknown ones `default`."""
    if not word.isascii():
        for script, languages in _SCRIPTS:
            if script.search(word):
                return languages
    return latin(default)


def candidates_of(counts: Mapping[str, int], default: str) -> tuple[str, ...]:
    """The languages that a question may be in, the likeliest first; empty where too little tells.

    Args:
        counts: how often each case-folded word stands in the text.
        default: wins a tie.
    """
    return _ranked(counts, default, 1)


def language_of(counts: Mapping[str, int], default: str) -> str:
    """The language of a passage: `default` where too little tells another one. Arguments as `candidates_of`."""
    # A foreign title or quotation does not make a foreign passage.
    ranked = _ranked(counts, default, MIN_DIFFERENT)
    return default if default in ranked or not ranked else ranked[0]


def _ranked(counts: Mapping[str, int], default: str, min_different: int) -> tuple[str, ...]:
    scores: dict[str, float] = {}
    different: dict[str, int] = {}
    for word in counts.keys() & _HINTS.keys():
        # A word that many languages share says little of each.
        weight = counts[word] / len(_HINTS[word]) ** 0.5
        for language in _HINTS[word]:
            scores[language] = scores.get(language, 0.0) + weight
            different[language] = different.get(language, 0) + 1
    ranked = sorted(scores, key=lambda language: (-scores[language], language != default, language))
    if not ranked or different[ranked[0]] < min_different:
        return ()
    best = scores[ranked[0]]
    if best < MIN_SHARE * sum(counts.values()):
        return ()
    return tuple(language for language in ranked if scores[language] >= RIVAL * best)
