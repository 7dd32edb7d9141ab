"""Tables line up, and are Markdown."""

import pytest

from edgepose.cli.table import format_bytes, format_table


def test_columns_line_up() -> None:
    table = format_table(["file", "size"], [["a.onnx", "1 B"], ["longer.onnx", "10.0 MB"]], right=(1,))
    assert table.splitlines() == [
        "| file        |    size |",
        "|-------------|--------:|",
        "| a.onnx      |     1 B |",
        "| longer.onnx | 10.0 MB |",
    ]


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (12_345_678, "12.3 MB"), (2.5e9, "2.5 GB")])
def test_bytes(count: int, text: str) -> None:
    assert format_bytes(count) == text
