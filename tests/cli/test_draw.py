from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Moa, SpecFile


def test_without_a_file_mermaid_goes_to_stdout(moa: Moa, served: SpecFile) -> None:
    result = moa("draw", served([["ok@a"]], "ok"))
    assert result.exit_code == 0
    assert result.stdout.startswith("flowchart TD\n")


@pytest.mark.parametrize(
    ("name", "begin"), [("x.mmd", b"flowchart"), ("x.svg", b"<svg"), ("x.PNG", b"\x89PNG\r\n")]
)
def test_the_suffix_decides_on_the_format(
    moa: Moa, served: SpecFile, tmp_path: Path, name: str, begin: bytes
) -> None:
    result = moa("draw", served([["ok@a"]], "ok"), "-o", name)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", f"wrote {name}\n")
    assert (tmp_path / name).read_bytes().startswith(begin)


def test_an_unknown_suffix_a_bad_folder_and_a_bad_spec_end_with_2(moa: Moa, served: SpecFile) -> None:
    spec = served([["ok@a"]], "ok")
    unknown = moa("draw", spec, "-o", "x.gif")
    assert unknown.exit_code == 2
    assert ".mmd, .svg or .png" in unknown.stderr
    assert moa("draw", spec, "-o", "no/folder.svg").exit_code == 2
    assert moa("draw", "missing.yaml").exit_code == 2
