"""The wheel works away from the checkout, and every message names the distribution that is ours."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from envs.base import extras
from envs.base.extras import CHECKOUT, DISTRIBUTION, how_to_install


def run(*command: object, cwd: Path, **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(each) for each in command], cwd=cwd, env=clean | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module", name="python")
def install_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel and install it into an environment of its own, which borrows nothing but other packages."""
    pytest.importorskip("setuptools", minversion="77", reason="wheels are built with setuptools 77 or newer")
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"
    run("git", "clone", "--quiet", CHECKOUT, source, cwd=place)
    build = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", place)
    run(*build, source, cwd=place)
    (wheel,) = place.glob("*.whl")
    assert wheel.name.startswith(DISTRIBUTION.replace("-", "_"))
    venv.create(place / "venv", with_pip=False)
    python = place / "venv" / "bin" / "python"
    own = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=place).strip())
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", own, wheel, cwd=place)
    # A path file adds the folder of other packages and does not read the path files in it: not those of the checkout.
    paths = {sysconfig.get_path(name) for name in ("purelib", "platlib")} | {
        each for each in sys.path if "site-packages" in each
    }
    (own / "others.pth").write_text("\n".join(sorted(paths)) + "\n")
    return python


def test_an_installed_wheel_plays_gives_credit_and_reports(python: Path, tmp_path: Path) -> None:
    where = run(
        python,
        "-c",
        "import agentbench, credit, envs, policies; print(agentbench.__file__, credit.__file__)",
        cwd=tmp_path,
    )
    assert all(path.startswith(str(python.parents[1])) for path in where.split())
    main = (python, "-m", "agentbench")
    run(
        *main,
        "eval",
        "--split",
        "generated:0:2:small",
        "--policy",
        "expert",
        "--trials",
        2,
        "--inline",
        "--out",
        "run",
        cwd=tmp_path,
    )
    run(*main, "credit", "run", "--scheme", "gigpo,salt", "--out", "credit.parquet", cwd=tmp_path)
    run(*main, "report", "run", "--out", "page.html", cwd=tmp_path)
    assert (tmp_path / "credit.parquet").stat().st_size > 0
    assert "generated:0:0" in (tmp_path / "page.html").read_text(encoding="utf-8")
    told = run(
        python, "-c", "from envs.base.extras import how_to_install; print(how_to_install('train'))", cwd=tmp_path
    )
    assert told.strip() == f"pip install '{DISTRIBUTION}[train]'"


def test_a_checkout_is_told_to_install_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(CHECKOUT)
    assert how_to_install("train") == "pip install -e '.[train]'"
    assert how_to_install() == "pip install -e ."
    monkeypatch.chdir(tmp_path)
    assert how_to_install("train") == f"pip install -e '{CHECKOUT}[train]'"
    monkeypatch.setattr(extras, "CHECKOUT", tmp_path)
    assert how_to_install() == f"pip install {DISTRIBUTION}"


def test_nothing_tells_a_user_to_install_the_package_of_that_name_which_is_somebody_elses() -> None:
    files = subprocess.run(["git", "ls-files"], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout.split()
    wrong = re.compile(r"""pip install (?:-\S+ )*['"]?agentbench(?![-\w/])""")
    texts = [name for name in files if name.endswith((".py", ".md", ".toml", "Makefile"))]
    found = [name for name in texts if wrong.search((CHECKOUT / name).read_text(encoding="utf-8"))]
    assert not found
