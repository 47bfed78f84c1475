"""GET /v1/models: `quoth`, the stores, the embedder; by name, by public id, by title."""

from collections.abc import Iterator

import openai
import pytest
from sqlalchemy import create_engine, text

from rag.documents import store_id
from tests.fakes import ScriptedChatModel
from tests.served import Served, serving_stores

MADE_OVER_HTTP = f"vs_{7:032x}"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    with serving_stores(folder, ScriptedChatModel(), {"default": {}, MADE_OVER_HTTP: {}, "foreign": {}}) as served:
        ledger = create_engine(f"sqlite:///{folder / 'data' / 'ledger.sqlite'}")
        with ledger.begin() as connection:
            connection.execute(text("UPDATE stores SET title = 'Staff handbook' WHERE name LIKE 'vs~_%' ESCAPE '~'"))
            connection.execute(text("UPDATE stores SET tenant = 'other' WHERE name = 'foreign'"))
        ledger.dispose()
        yield served


@pytest.fixture
def api(served: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as api:
        yield api


def test_what_can_be_asked_is_a_model(api: openai.OpenAI) -> None:
    models = {model.id: model for model in api.models.list()}
    assert set(models) == {"quoth", "quoth/default", f"quoth/{MADE_OVER_HTTP}", "bag-of-words"}
    assert models[f"quoth/{MADE_OVER_HTTP}"].name == "Staff handbook"  # type: ignore[attr-defined]
    assert models["quoth/default"].name == "default"  # type: ignore[attr-defined]
    assert models["quoth/default"].created > 0


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("quoth", "quoth"),
        ("bag-of-words", "bag-of-words"),
        ("quoth/default", "quoth/default"),
        (f"quoth/vs_{store_id('default').replace('-', '')}", "quoth/default"),
        (f"quoth/{MADE_OVER_HTTP}", f"quoth/{MADE_OVER_HTTP}"),
        ("quoth/Staff handbook", f"quoth/{MADE_OVER_HTTP}"),
    ],
)
def test_a_model_is_found_by_each_of_its_names(api: openai.OpenAI, wanted: str, found: str) -> None:
    assert api.models.retrieve(wanted).id == found


@pytest.mark.parametrize("wanted", ["gpt-4o", "quoth/", "quoth/foreign", "quoth/missing", "default"])
def test_what_is_not_there_or_anothers_is_no_model(api: openai.OpenAI, wanted: str) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        api.models.retrieve(wanted)
    assert caught.value.code == "model_not_found"
    assert "foreign" not in str(caught.value).replace(f"named '{wanted.removeprefix('quoth/')}'", "").replace(
        f"--store {wanted.removeprefix('quoth/')}", ""
    )


@pytest.mark.parametrize("wanted", ["gpt-4o", "bag-of-words", "default"])
def test_whoever_asks_another_model_is_told_what_can_be_asked(api: openai.OpenAI, wanted: str) -> None:
    with pytest.raises(
        openai.NotFoundError, match=f"no model '{wanted}' to ask here. Ask quoth, or quoth/STORE"
    ) as caught:
        api.chat.completions.create(model=wanted, messages=[{"role": "user", "content": "Anything?"}])
    assert caught.value.code == "model_not_found"
