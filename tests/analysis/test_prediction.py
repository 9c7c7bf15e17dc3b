"""Quality at the start against what a sweep reached: cells, links with known truth, and the file that keeps them."""

import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from agentbench.analysis.prediction import MEASURES, draw_links, find_links, make_cells, read_outcomes
from envs.base.errors import UserError

SCHEMES = ("grpo", "gigpo", "hgpo", "salt", "mapo", "rtmc")


def quality_table(values, size=8, **further):
    """A quality table whose every measure has these values, a scheme each."""
    rows = []
    for scheme, value in values.items():
        row = {"sample": "clone", "setting": "", "value": "", "group_size": size, "scheme": scheme, **further}
        for name in MEASURES:
            row |= {name: value, f"{name}_low": value - 0.1, f"{name}_high": value + 0.1}
        rows.append(row)
    return pd.DataFrame(rows)


def curve_file(path, ends, seeds=3, noise=0.0, environment="toy"):
    """A sweep's curves: from 0.2 up to an end a scheme, on a straight line over 1,000 steps."""
    random, rows = np.random.default_rng(0), []
    for scheme, end in ends.items():
        for seed in range(seeds):
            top = end + noise * random.normal()
            rows += [(environment, scheme, seed, 0, 0.2), (environment, scheme, seed, 1000, top)]
    table = pd.DataFrame(rows, columns=["environment", "scheme", "seed", "environment_steps", "success"])
    table.to_parquet(path)
    return path


def test_outcomes_are_the_end_and_the_area_up_to_the_shortest_run(tmp_path):
    path = curve_file(tmp_path / "curves.parquet", {"grpo": 0.6, "gigpo": 0.8}, seeds=1)
    table = pd.read_parquet(path)
    further = table.iloc[[-1]].assign(environment_steps=2000, success=0.4)
    pd.concat([table.iloc[::-1], further]).to_parquet(path)  # in any order
    found = read_outcomes(path, "toy").set_index("scheme")
    assert found.loc["grpo", "success"] == 0.6 and found.loc["gigpo", "success"] == 0.4
    assert found.loc["grpo", "area"] == pytest.approx(0.4) and found.loc["gigpo", "area"] == pytest.approx(0.5)


def test_a_table_of_ends_has_no_area_and_only_the_named_environment_is_taken(tmp_path):
    rows = [("shop", "grpo", 0, 0.3), ("shop", "grpo", 1, 0.5), ("house", "grpo", 0, 0.9)]
    pd.DataFrame(rows, columns=["benchmark", "scheme", "seed", "success"]).to_csv(tmp_path / "ends.csv", index=False)
    found = read_outcomes(tmp_path / "ends.csv", "shop")
    assert list(found["success"]) == [0.3, 0.5] and found["area"].isna().all()
    with pytest.raises(UserError, match="has runs in shop, house: name the cells after one of them"):
        read_outcomes(tmp_path / "ends.csv", "elsewhere")
    (cell,) = make_cells("shop", quality_table({"grpo": 0.5}), found).to_dict("records")
    assert cell["success"] == pytest.approx(0.4) and cell["success_half"] == pytest.approx(1.2706, abs=1e-4)
    assert cell["cosine_mean"] == 0.5 and cell["cosine_mean_low"] == pytest.approx(0.4) and np.isnan(cell["area"])


def test_a_scheme_without_a_quality_is_a_cell_that_no_link_counts(tmp_path):
    outcomes = read_outcomes(curve_file(tmp_path / "c.parquet", dict.fromkeys(SCHEMES, 0.5)), "toy")
    cells = make_cells("toy", quality_table(dict.fromkeys(SCHEMES[:-1], 0.1)), outcomes)
    assert list(cells["scheme"]) == list(SCHEMES) and np.isnan(cells["cosine_mean"].iloc[-1])
    assert set(find_links(cells, draws=50)["cells"]) == {5}


def test_a_scheme_is_taken_at_the_group_size_it_was_trained_with(tmp_path):
    both = pd.concat([quality_table({"grpo": 0.1, "vineppo": 0.2}, 8), quality_table({"vineppo": 0.3}, 2)])
    outcomes = read_outcomes(curve_file(tmp_path / "c.parquet", {"grpo": 0.5, "vineppo": 0.6}), "toy")
    assert list(make_cells("toy", both, outcomes)["cosine_mean"]) == [0.1, 0.2]
    assert list(make_cells("toy", both, outcomes, {"vineppo": 2})["cosine_mean"]) == [0.1, 0.3]
    with pytest.raises(UserError, match="grpo was not measured with groups of 4: agentbench quality"):
        make_cells("toy", both, outcomes, {"grpo": 4})


def test_several_policies_that_seeds_began_from_are_averaged(tmp_path):
    both = pd.concat([quality_table({"grpo": 0.1, "gigpo": 0.2}), quality_table({"grpo": 0.5}).assign(sample="b")])
    outcomes = read_outcomes(curve_file(tmp_path / "c.parquet", {"grpo": 0.5, "gigpo": 0.6}), "toy")
    cells = make_cells("toy", both, outcomes).set_index("scheme")
    assert list(cells["samples"]) == [2, 1] and cells.loc["grpo", "snr"] == pytest.approx(0.3)
    assert cells.loc["grpo", "snr_high"] == pytest.approx(0.3 + 0.1 / 2**0.5)
    assert np.isnan(cells.loc["gigpo", "snr"])  # one of the policies was not asked


@pytest.mark.parametrize("name, error", [("no.parquet", "cannot be read"), ("bad.csv", "no column 'seed'")])
def test_a_file_that_is_no_sweep_is_refused(tmp_path, name, error):
    (tmp_path / "bad.csv").write_text("scheme,success\ngrpo,0.5\n")
    with pytest.raises(UserError, match=error):
        read_outcomes(tmp_path / name, "toy")


def two_environments(folder, link):
    """Cells of two environments of unlike level, in which what is learned follows the quality or runs against it."""
    parts = []
    for name, level, order in (("easy", 0.7, [0, 3, 1, 5, 2, 4]), ("hard", 0.3, [5, 0, 2, 1, 4, 3])):
        values = dict(zip(SCHEMES, np.array(order) / 10, strict=True))
        ends = {scheme: level + link * value / 2 for scheme, value in values.items()}
        path = curve_file(folder / f"{name}.parquet", ends, seeds=5, noise=0.001, environment=name)
        parts.append(make_cells(name, quality_table(values), read_outcomes(path, name)))
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("link", [1, -1])
def test_a_link_that_is_there_is_found_across_levels(tmp_path, link):
    found = find_links(two_environments(tmp_path, link), draws=1000)
    assert len(found) == 2 * len(MEASURES) and set(found["environments"]) == {2} and set(found["cells"]) == {12}
    assert (found["rho"] * link > 0.97).all() and (found["p"] < 0.01).all() and (found["p_holm"] >= found["p"]).all()
    assert np.allclose(found["in easy"], link) and (np.abs(found["plain"]) < 0.9).all()
    assert (np.minimum(found["low"] * link, found["high"] * link) > 0.9).all()


def test_the_same_seed_gives_the_same_numbers_and_the_same_picture(tmp_path):
    cells = two_environments(tmp_path, 1)
    links = find_links(cells, draws=200)
    pd.testing.assert_frame_equal(links, find_links(cells, draws=200))
    for name in ("a.png", "b.png"):
        draw_links(cells, links, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_too_few_cells_give_no_number(tmp_path):
    outcomes = read_outcomes(curve_file(tmp_path / "c.parquet", {"grpo": 0.5, "gigpo": 0.6, "hgpo": 0.7}), "toy")
    cells = make_cells("toy", quality_table({"grpo": 0.1, "gigpo": 0.2, "hgpo": 0.3}), outcomes)
    links = find_links(cells, draws=50)
    assert links["rho"].isna().all() and links["p_holm"].isna().all()
    draw_links(cells, links, tmp_path / "few.png")


def test_the_script_keeps_its_cells_and_makes_the_same_page_from_them(tmp_path, monkeypatch, capsys):
    folder = Path(__file__).parents[1] / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    script = runpy.run_path(str(folder / "bench_prediction.py"))["main"]
    quality_table(dict(zip(SCHEMES, np.arange(6) / 10, strict=True))).to_csv(tmp_path / "quality.csv", index=False)
    ends = dict(zip(SCHEMES, np.arange(6) / 20 + 0.3, strict=True))
    curves = curve_file(tmp_path / "curves.parquet", ends, environment="house")
    (tmp_path / "prediction.md").write_text("before\n<!-- links -->\n<!-- end of links -->\nafter\n")
    add = ["--add", "house", str(tmp_path / "quality.csv"), str(curves)]
    pages = []
    for words in (add, []):
        monkeypatch.setattr("sys.argv", ["bench_prediction.py", *words, "--output", str(tmp_path)])
        script()
        pages.append((tmp_path / "prediction.md").read_text())
    assert pages[0] == pages[1] and pages[0].startswith("before\n") and pages[0].endswith("after\n")
    assert "| final success | `cosine_mean` | 6 | +1.00 [+1.00, +1.00] |" in pages[0]
    assert len(pd.read_csv(tmp_path / "prediction.csv")) == 6 and (tmp_path / "prediction.png").exists()
    monkeypatch.setattr(
        "sys.argv", ["bench_prediction.py", *add, "--group-size", "vineppo=2", "--output", str(tmp_path)]
    )
    with pytest.raises(SystemExit):
        script()
    assert "houses:vineppo=2" in capsys.readouterr().err
