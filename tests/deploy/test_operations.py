"""docs/operations.md says what the server says of itself."""

import re

from paths import ROOT

PAGE = (ROOT / "docs/operations.md").read_text(encoding="utf-8")

# Flags that Abseil adds to every program.
ABSEIL = {"flagfile", "fromenv", "tryfromenv", "undefok"}


def rows(help_text):
    """The table of flags, row by row, from the text of --help."""
    for name, shown, lines in re.findall(r"^  --(\w+)=(.*)\n((?:      .*\n)+)", help_text, re.MULTILINE):
        if name not in ABSEIL:
            meaning = " ".join(lines.split())
            escaped = meaning.replace("<", "&lt;")  # or Markdown takes <name> for a tag
            yield f"| `--{name}` | {f'`{shown}`' if shown else 'empty'} | {escaped} |"


def test_flags_are_those_of_help(server_help):
    expected = list(rows(server_help))
    assert len(expected) > 5
    assert re.findall(r"^\| `--.*$", PAGE, re.MULTILINE) == expected


def test_metrics_are_those_exported(exported):
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exported if name.startswith("longwave_")}
    described = {name for row in re.findall(r"^\| (`longwave_.*?) \|", PAGE, re.MULTILINE)
                 for name in re.findall(r"`(\w+)`", row)}
    assert described == families
