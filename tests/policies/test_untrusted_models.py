"""A model's folder from a stranger: its templates put texts together, its code is not run, its pickles are not read."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="language models need torch: pip install -e '.[language]'")
pytest.importorskip("transformers", reason="language models need transformers: pip install -e '.[language]'")

from tiny_language import model, tokenizer  # noqa: E402

from envs.base.errors import UserError  # noqa: E402
from policies.language.conversation import Writer  # noqa: E402
from policies.language.loading import empty_model, load_model, load_tokenizer  # noqa: E402
from policies.language.settings import LanguageSettings  # noqa: E402
from policies.prompts import make_settings  # noqa: E402

ESCAPES = (
    "cycler.__init__.__globals__.os.system('touch {0}')",
    "''.__class__.__mro__[1].__subclasses__()",
    "lipsum.__globals__['os'].popen('touch {0}').read()",
    "self.__init__.__globals__.__builtins__.open('{0}', 'w')",
)


class Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> object:
        return Path.touch, (self.marker,)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    model().save_pretrained(made)
    tokenizer().save_pretrained(made)
    return made


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "marker"


@pytest.mark.parametrize("escape", [*ESCAPES, "range(10 ** 12) | list", "1 // 0", "messages.clear()"])
def test_a_chat_template_only_puts_texts_together(folder: Path, marker: Path, escape: str) -> None:
    hostile = "{{ " + escape.format(marker) + " }}{% for m in messages %}{{ m.content }}{% endfor %}"
    (folder / "chat_template.jinja").write_text(hostile)
    with pytest.raises(UserError, match="chat template"):
        Writer(load_tokenizer(str(folder)), thinking=False)
    assert not marker.exists()


@pytest.mark.parametrize("escape", ESCAPES)
def test_a_template_from_a_file_only_puts_texts_together(tmp_path: Path, marker: Path, escape: str) -> None:
    path = tmp_path / "template.toml"
    path.write_text('user = """{{ observation }}{{ ' + escape.format(marker) + ' }}"""')
    with pytest.raises(UserError, match="is wrong"):
        make_settings("alfworld", template=str(path))
    assert not marker.exists()


def test_code_in_the_folder_is_not_run_and_nobody_is_asked_whether_it_may(
    folder: Path, marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("builtins.input", lambda *text: asked.append(str(text)) or "y")
    (folder / "evil.py").write_text(f"from pathlib import Path\nPath({str(marker)!r}).touch()\nclass Evil: pass\n")
    code = {"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil", "AutoTokenizer": ["evil.Evil", None]}
    for name in ("config.json", "tokenizer_config.json"):
        record = json.loads((folder / name).read_text()) | {"auto_map": code, "tokenizer_class": "Evil"}
        (folder / name).write_text(json.dumps({**record, "model_type": "evil"}))
    for load in (load_model, lambda settings: empty_model(str(folder), settings)):
        with pytest.raises(UserError, match="cannot"):
            load(LanguageSettings(str(folder)))
    with pytest.raises(UserError, match="cannot load a tokenizer"):
        load_tokenizer(str(folder))
    assert not asked and not marker.exists()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "../outside.safetensors", "/tmp/model.safetensors", None])
def test_an_index_that_leads_to_a_pickle_or_out_of_the_folder_is_refused(
    folder: Path, marker: Path, name: str | None
) -> None:
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Evil(marker)))
    (folder / "model.safetensors").unlink()
    weights = dict.fromkeys(model().state_dict(), name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weights}))
    with pytest.raises(UserError, match=r"no \.safetensors file of this folder"):
        load_model(LanguageSettings(str(folder)))
    assert not marker.exists()


def test_adapters_in_a_pickle_are_refused(folder: Path, marker: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.bin").write_bytes(pickle.dumps(Evil(marker)))
    with pytest.raises(UserError, match="adapters as a pickle"):
        load_model(LanguageSettings(str(folder)))
    assert not marker.exists()


def test_an_index_that_is_none_is_one_clear_line(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text("[")
    with pytest.raises(UserError, match="cannot be read"):
        load_model(LanguageSettings(str(folder)))
