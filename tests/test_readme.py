"""The README's Python runs and prints what the README says it prints."""

import re
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text()


SIZE = re.compile(r"\d+e-\d+|\d*\.\d+")  # radii: another machine's rounding may move them


def test_the_python_example_prints_the_lines_beneath_it(capsys, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[1])
    program, promised = re.search(r"```python\n(.*?)```\n\n```\n(.*?)```", README, re.DOTALL).groups()
    exec(compile(program, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert SIZE.sub("#", printed) == SIZE.sub("#", promised)
    for ours, theirs in zip(SIZE.findall(printed), SIZE.findall(promised), strict=True):
        assert 0.1 < float(ours) / float(theirs) < 10


def test_it_is_one_screen_and_its_links_lead_somewhere():
    assert len(README.splitlines()) <= 60
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", README):
        assert (Path(__file__).parents[1] / target).is_file(), target
