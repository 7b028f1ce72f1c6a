"""Files that are broken in every way that was seen: one clear line for each fault, good rows go on.

Each case is a file, the prompts that come out of it, and how the line of each kind of fault begins.
"""

from __future__ import annotations

import gzip
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from hierdiff_core.errors import HierdiffError
from hierdiff_core.printable import printable
from tasks.ingest import read_batch
from tasks.rejected import by_kind
from tasks.source.file import read_file
from tests.tasks.conftest import RECIPE

SECONDS = 10
LONG = 1_000_000  # characters of a line


@dataclass(frozen=True)
class Case:
    """A file and what is right for it."""

    name: str
    content: bytes
    good: tuple[str, ...]  # the texts of its prompts; none: the file is refused
    rejected: tuple[str, ...]  # the beginning of the line of each kind; of the error's


def case(name: str, content: str | bytes, good: str, *rejected: str) -> Case:
    """Return a case; `good` has the prompts with bars between."""
    given = content.encode() if isinstance(content, str) else content
    return Case(name, given, tuple(good.split("|")) if good else (), rejected)


OPEN, LOOSE = (
    "it opens a quote that never closes",
    "a quote in it is neither doubled nor at the end",
)
ENDS = "the quote that it opens ends in line"
MISSING = "Column 'prompt' is missing: the source has"
NOTHING = "There is no usable prompt: "

QUOTES = [
    case("a.csv", 'prompt\n"a mug\nb\nc\n', "b|c", f"Row 2: {OPEN}"),
    case("a.csv", 'prompt\na\nb\n"c', "a|b", f"Row 4: {OPEN}"),
    case("a.csv", 'prompt\na\nb\n"', "a|b", f"Row 4: {OPEN}"),
    case("a.csv", 'prompt\n"a\nb\n"c\nd\n', "b|d",
         f"Row 2: {OPEN}; correct it or drop the row. The same holds for 1 more: 4."),
    case("a.csv", 'prompt\n"a" mug\nb\n', "b", f"Row 2: {LOOSE}"),
    case("a.csv", 'prompt\n"a "big" mug"\nb\n', "b", f"Row 2: {LOOSE}"),
    case("a.csv", 'prompt\na mug\nb 27" wide\n"c ""d"""\n', 'a mug|b 27" wide|c "d"'),
    case("a.csv", 'reference,prompt\n1,"a\n2,b\n3,c 27"\n4,d\n', 'b|c 27"|d', f"Row 2 (1): {ENDS}"),
    case("a.csv", 'reference,prompt,seed\n1,"a,1\n2,b 27",2\n3,c,3\n', 'b 27"|c',
         f"Row 2 (1): {ENDS} 3"),
    case("a.csv", 'reference,prompt\n1,"a\n2,b"\n3,c\n', "c", f"Row 2 (1): {ENDS} 3"),
    case("a.csv", 'reference,prompt\n1,"a, big\nred mug"\n2,b\n', "a, big\nred mug|b"),
    case("a.csv", 'reference,prompt\n1,"a\n\n\n2,b\n', "b", f"Row 2 (1): {OPEN}"),
    case("a.csv", 'reference,prompt\n1,"a\nrest of a\n2,b\n', "b", f"Row 2 (1): {OPEN}",
         "Row 3 (rest of a): it has 1 of 2 cells, after a quote that is wrong in line 2"),
    case("a.csv", 'prompt\n"a\r\nb"\r\nc\r\n', "a\r\nb|c"),
    case("a.csv", 'reference;prompt\n1;"a\n2;b\n', "b", f"Row 2 (1): {OPEN}"),
    case("a.csv", '"prompt\na\nb\n', "", f"File PATH cannot be read: its header: {OPEN}"),
    case("a.csv", '"prompt" x\na\n', "", f"File PATH cannot be read: its header: {LOOSE}"),
    case("a.tsv", 'prompt\treference\n"a lamp, brass\t1\nb\t2\n', '"a lamp, brass|b'),
    case("a.tsv", 'prompt\treference\n27" mug\t1\n"big" b\t2\n"c"\t3\n', '27" mug|"big" b|c'),
    case("a.tsv", 'reference\tprompt\n1\t"a\n2\tb\n3\tc 27"\n', '"a|b|c 27"'),
    case("a.tsv", 'reference\tprompt\n1\t"a\nmug"\n2\tb\n', "a\nmug|b"),
    case("a.tsv", 'reference\tprompt\n1\t"a\tmug"\n2\tb\n', "a\tmug|b"),
    case("a.tsv", 'reference\tprompt\n1\t"a ""big"" mug"\n2\t"b "\n', 'a "big" mug|b '),
    case("a.tsv", 'reference\tprompt\n1\t"a" "b"\n2\t""\n3\tc\n', '"a" "b"|c',
         "Row 3 (2): the prompt is empty"),
    case("a.tsv", 'reference\tprompt\n1\t"\n2\tb\n', "b", "Row 2 (1): column 'prompt' holds '\"',"),
    case("a.txt", 'a mug\n--prompt "b\nc\n', "a mug|c", f"Row 2: {OPEN}"),
]  # fmt: skip

SHAPES = [
    case("a.csv", "prompt,reference\na,1\nb,2,3\nc,3,4,5\nd,4\n", "a|d",
         "Row 3 (2): it has 3 cells, the header has 2; correct it or drop the row. The same holds "
         "for 1 more: 4."),
    case("a.csv", "prompt,reference\na,1,,\nb\n", "a|b"),
    case("a.csv", "prompt,reference\n,1\n,\n\nb,2\n", "b", "Row 2 (1): the prompt is empty"),
    case("a.tsv", "prompt\treference\na\t1\t2\nb\t2\n", "b", "Row 2 (1): it has 3 cells"),
    case("a.csv", "sep=;\nprompt;reference\na, b;1\n", "a, b"),
    case("a.csv", "SEP=|\nprompt|reference\na, b|1\n", "a, b"),
    case("a.csv", "sep=\nprompt\na\n", "a"),
    case("a.csv", "sep=;\n", "", f"{NOTHING}the source has no rows"),
    case("a.csv", "prompt\treference\na, b\t1\n", "a, b"),
    case("a.tsv", "prompt;reference\na, b;1\n", "a, b"),
    case("a.csv", "prompt|reference\na, b|1\n", "a, b"),
    case("a.csv", "\n\n prompt , reference \na,1\n", "a"),
    case("a.csv", "prompt\na, b\n", "", f"{NOTHING}all 1 rows were rejected, the first with: Row "),
    case("a.csv", "prompt\ra\rb\r", "a|b"),
    case("a.csv", "", "", f"{NOTHING}the source has no rows"),
    case("a.csv", "\n \n\n", "", f"{NOTHING}the source has no rows"),
    case("a.csv", "prompt\n", "", f"{NOTHING}the source has no rows"),
    case("a.csv", "prompt\n\n\n", "", f"{NOTHING}the source has no rows"),
    case("a.csv", ",,\n1,2,3\n", "", f"{MISSING} no columns"),
    case("a.csv", "a red mug\na blue mug\n", "", f"{MISSING} a red mug"),
    case("a.csv", "{}\n", "", f"{NOTHING}the source has no rows"),
    case("a.txt", "a mug\n\n  b  \n", "a mug|b"),
    case("a.txt", "title\tprompt\nx\ta\n", "a"),
    case("a.txt", "a\n--prompt\nc\n", "a|c", "Row 2: '--prompt' is no option with a value"),
    case("a.txt", "--prompt a mug\n--seed 3 --prompt c\n", "c", "Row 1: 'mug' is no option with a"),
    case("a.txt", "--prompt b --seed\nc\n", "c", "Row 1: '--seed' is no option with a value"),
    case("a.txt", "--prompt a --prompt b\nc\n", "c", "Row 1: Column 'prompt' stands in the source"),
    case("a.txt", "--seed 3\nc\n", "c", f"Row 1: {MISSING} seed"),
    case("a.txt", "", "", f"{NOTHING}the source has no rows"),
]  # fmt: skip

HEADERS = [
    case("a.csv", "prompt,prompt\na,b\n", "", "Column 'prompt' stands in the source more than onc"),
    case("a.csv", "prompt,Prompt\na,b\n", "", "Column 'prompt' stands in the source more than once "
         "(prompt and Prompt)"),
    case("a.csv", "prompt,seed,SEED \na,1,2\n", "", "Column 'seed' stands in the source more than"),
    case("a.tsv", "prompt\treference\treference\na\t1\t2\n", "", "Column 'reference' stands in th"),
    case("a.csv", "prompt,tag,tag\na,1,2\n", "a"),
    case("a.csv", "PROMPT\na\n", "a"),
    case("a.csv", "Prompts\na\n", "a"),
    case("a.csv", "promt\na\n", "a"),
    case("a.csv", "\ufeffprompt\na\n", "a"),
    case("a.csv", "\u200bprompt\na\n", "a"),
    case("a.csv", "ｐｒｏｍｐｔ\na\n", "a"),
    case("a.csv", "promptss,prompst\na,b\n", "", f"{MISSING} promptss, prompst"),
    case("a.csv", "text\na\n", "", f"{MISSING} text"),
    case("a.csv", "title,id\n" * 2, "", f"{MISSING} title, id; name it in the query or the file, "
         "or say which column it is with --column prompt=NAME."),
    case("a.csv", ",".join(f"c{n}" for n in range(99)) + "\n1\n", "", f"{MISSING} c0, c1"),
    case("a.csv", "x" * 2 * LONG + "\na\n", "", "File PATH cannot be read: its header is longer t"),
    case("a.csv", '"' + "x" * 2 * LONG + '"\na\n', "", "File PATH cannot be read: its header is l"),
    case("a.csv", "p\x00rompt\na\n", "a"),
    case("a.csv", "\x1b[31mred\n1\n", "", f"{MISSING} \\x1b[31mred;"),
    case("a.csv", "prompt,\x1b[2J\na,1\n", "a"),
]  # fmt: skip

JSON = [
    case("a.jsonl", '{"prompt": "a"}\n{oops\n[1]\nnull\n"x"\n7\n{"prompt": "b"}\n', "a|b",
         "Row 2: the line is not valid JSON", "Row 3: it is not a JSON object; correct it or drop "
         "the row. The same holds for 3 more: 4, 5, 6."),
    case("a.jsonl", '{"prompt": "a"}\n{"prompt": "b"\n{"prompt": "c"}\n', "a|c", "Row 2: the line"),
    case("a.jsonl", '{"prompt": "a"\n{"prompt": "c"}\n', "c", "Row 1: the line is not valid JSON"),
    case("a.jsonl", '{"prompt": "a", "prompt": "b"}\n{"prompt": "c"}\n', "c",
         "Row 1: Column 'prompt' stands in the source more than once"),
    case("a.jsonl", '{"prompt": "a", "x": 1, "x": 2}\n', "a"),
    case("a.jsonl", '{"prompt": "a"} {"prompt": "b"}\n{"prompt": "c"}\n', "c", "Row 1: the line i"),
    case("a.jsonl", "[" * 100_000 + '\n{"prompt": "c"}\n', "c", "Row 1: the line is JSON that nes"),
    case("a.jsonl", '{"prompt": "a"}\n{"a":' + "[" * 100_000 + "\n", "a", "Row 2: the line is JSO"),
    case("a.jsonl", '{"prompt": "' + "x" * 10_000_000 + '"}\n{"prompt": "c"}\n', "c",
         "Row 1: it is longer than 1,000,000 characters"),
    case("a.jsonl", '{"text": "a"}\n{"prompt": "c"}\n', "c", f"Row 1: {MISSING} text"),
    case("a.jsonl", '{"text": "a"}\n{"text": "c"}\n', "", f"{MISSING} text"),
    case("a.jsonl", "{}\n", "", f"{MISSING} no columns"),
    case("a.jsonl", '{"prompt": NaN}\n{"prompt": "b", "seed": NaN}\n', "b", "Row 1: the prompt is"),
    case("a.jsonl", '{"prompt": "b", "guidance": Infinity}\n{"prompt": "c"}\n', "c",
         "Row 1: column 'guidance' holds inf, not a number"),
    case("a.jsonl", '{"prompt": "a", "guidance": 1' + "0" * 400 + '}\n{"prompt": "c"}\n', "c",
         "Row 1: column 'guidance' holds '1000"),
    case("a.jsonl", '{"prompt": "a", "seed": 1' + "0" * 5000 + '}\n{"prompt": "c"}\n', "c",
         "Row 1: the line is JSON with a number of thousands of digits"),
    case("a.jsonl", '{"prompt": "a", "seed": 42.0}\n', "a"),
    case("a.jsonl", '{"prompt": {"text": "a"}}\n{"prompt": "c"}\n', "c", "Row 1: column 'prompt' "),
    case("a.jsonl", '{"prompt": ["a"]}\n{"prompt": "c"}\n', "c", "Row 1: column 'prompt' holds ['"),
    case("a.jsonl", '{"prompt": "\\ud83d"}\n{"prompt": "c"}\n', "c", "Row 1: column 'prompt' hold"),
    case("a.jsonl", '{"prompt": "\\u0000"}\n{"prompt": "c"}\n', "c", "Row 1: column 'prompt' hold"),
    case("a.jsonl", '{"prompt": "c", "reference": ["1"]}\n{"prompt": "c"}\n', "c",
         "Row 1 (['1']): column 'reference' holds ['1'], not text or a number"),
    case("a.jsonl", '{"prompt": "c", "reference": {"a": 1}}\n{"prompt": "c"}\n', "c",
         "Row 1 ({'a': 1}): column 'reference' holds {'a': 1}, not text or a number"),
    case("a.jsonl", '{"prompt": "c", "reference": true}\n{"prompt": "c"}\n', "c", "Row 1 (True): "),
    case("a.jsonl", '[\n{"prompt": "a"},\n{"prompt": "b"}\n]\n', "a|b"),
    case("a.jsonl", '{\n"k1": {"prompt": "a"},\n"k2": {"prompt": "b"}\n}\n', "a|b"),
    case("a.json", '[{"prompt": "a"}, {"prompt": "b"}]', "a|b"),
    case("a.json", '{"prompt": "a"}', "a"),
    case("a.json", '{"prompt": "a"}\n{"prompt": "b"}\n', "a|b"),
    case("a.json", '{"products": [{"prompt": "a"}]}', "a"),
    case("a.json", '[{"prompt": "a"}, 7, null, {"prompt": "b"}]', "a|b",
         "Row 2: it is not a JSON object; correct it or drop the row. The same holds for 1 more: "),
    case("a.json", '[{"prompt": "a"},\n{"prompt": "b"},\n{"prompt": "c"', "a|b",
         "Row 3: the JSON breaks in line 3, and nothing after it can be read"),
    case("a.json", '[{"prompt": "a"} {"prompt": "b"}', "a|b", "Row 3: the JSON breaks in line 1"),
    case("a.json", '[{"prompt": "a"},\n{"prompt": oops},\n{"prompt": "c"}]', "a",
         "Row 2: the JSON breaks in line 2, and nothing after it can be read"),
    case("a.json", '{\n"k": {"prompt": "a"},\n"k": {"prompt": "b"}}', "",
         "File PATH cannot be read: it names k more than once"),
    case("a.json", '{\n"k": {"prompt": "a"},\n', "", "File PATH cannot be read: it is not valid J"),
    case("a.json", '{"k": {"prompt": "a"}', "", "File PATH cannot be read: it is not valid JSON"),
    case("a.json", "[]", "", f"{NOTHING}the source has no rows"),
    case("a.json", "", "", f"{NOTHING}the source has no rows"),
    case("a.json", "   \n", "", f"{NOTHING}the source has no rows"),
    case("a.json", "null", "", f"{NOTHING}all 1 rows were rejected"),
    case("a.json", '"a mug"', "", f"{NOTHING}all 1 rows were rejected"),
    case("a.json", "prompt\na mug\n", "", f"{NOTHING}all 2 rows were rejected"),
    case("a.json", "[" * 100_000, "", f"{NOTHING}all 1 rows were rejected"),
    case("a.json", '{"a":' * 100_000, "", "File PATH cannot be read: it is JSON that nests too de"),
    case("a.json", '[' + '{"prompt": "a"},' * 9999 + '{"prompt": "a"}]', "|".join("a" * 10_000)),
]  # fmt: skip


def encoded(name: str, text: str, encoding: str, good: str, *rejected: str) -> Case:
    """Return a case in another encoding, with its byte-order mark where it has one."""
    return case(name, text.encode(encoding), good, *rejected)


BYTES = "bytes that are not of the file's encoding"
ENCODINGS = [
    encoded("a.csv", "prompt\ncafé\nmug\n", "utf-8-sig", "café|mug"),
    encoded("a.tsv", "prompt\treference\ncafé\t1\n", "utf-16", "café"),
    encoded("a.csv", "prompt,reference\ncafé,1\n", "utf-16", "café"),
    encoded("a.csv", "prompt,reference\ncafé,1\n", "utf-16-le", "café"),
    encoded("a.csv", "prompt,reference\ncafé,1\n", "utf-16-be", "café"),
    encoded("a.csv", "prompt\ncafé\n", "utf-32", "café"),
    encoded("a.json", '[{"prompt": "café"}]', "utf-16", "café"),
    encoded("a.jsonl", '{"prompt": "café"}\n', "utf-8-sig", "café"),
    encoded("a.txt", "café\n", "utf-16", "café"),
    encoded("a.csv", "prompt\ncafé\nmug\nthé\n", "cp1252", "mug",
            f"Row 2: its prompt has {BYTES}; say which one it is with HIERDIFF_SOURCE_ENCODING or "
            "--encoding, such as cp1252; correct it or drop the row. The same holds for 1 more: 4"),
    encoded("a.tsv", "prompt\ncafé\nmug\n", "latin-1", "mug", f"Row 2: its prompt has {BYTES}"),
    encoded("a.jsonl", '{"prompt": "café"}\n{"prompt": "mug"}\n', "cp1252", "mug",
            f"Row 1: its prompt has {BYTES}"),
    encoded("a.txt", "café\nmug\n", "cp1252", "mug", f"Row 1: its prompt has {BYTES}"),
    encoded("a.csv", "prompt\n茶\nmug\n", "shift_jis", "mug", f"Row 2: its prompt has {BYTES}"),
    encoded("a.csv", "prompt,note\nmug,café\n", "cp1252", "mug"),
    encoded("a.csv", "prompt,reference\nmug,é\nb,2\n", "cp1252", "b",
            f"Row 2 (\\udce9): its reference has {BYTES}"),
    encoded("a.csv", "prompt,café\nmug,1\n", "cp1252", "mug"),
    encoded("a.csv", "café\nmug\n", "cp1252", "", f"{MISSING} caf\\udce9"),
    case("a.csv", b"\xff\xfep\x00r\x00o", "", "File PATH cannot be read: it is not utf-16"),
    case("a.csv", b"\xff\xfep\x00r", "", "File PATH cannot be read: it is not utf-16"),
    case("a.csv", gzip.compress(b"prompt\na\n"), "", "File PATH cannot be read: it is compressed"),
    case("a.csv", b"PK\x03\x04rest", "", "File PATH cannot be read: it is a spreadsheet or an arc"),
    case("a.json", b"PAR1rest", "", "File PATH cannot be read: it is Parquet"),
    case("a.txt", b"SQLite format 3\x00", "", "File PATH cannot be read: it is an SQLite database"),
    case("a.csv", bytes(range(256)) * 10, "", MISSING),
    case("a.csv", b"\x00" * 5000, "", f"{NOTHING}the source has no rows"),
]  # fmt: skip

REFERENCES = [
    case("a.csv", "reference,prompt\nA,a\nA,b\nA,a\nB,b\n", "a|a|b",
         "Row 3 (A): row 2 has its reference and another prompt"),
    case("a.csv", "reference,prompt\nA,a\nA, a \nA,cafe\u0301\n", "a| a ",
         "Row 4 (A): row 2 has its reference and another prompt"),
    case("a.csv", "reference,prompt,width\nA,a,64\nA,a,128\n", "a|a"),
    case("a.csv", "reference,prompt\n3,a\n,b\nC,c\n", "a|c",
         "Row 3 (3): row 2 has its reference and another prompt"),
    case("a.csv", "reference,prompt\n\x1b[31m,\nC,c\n", "c", "Row 2 (\\x1b[31m): the prompt is em"),
    case("a.csv", f"reference,prompt\n{'x' * 999},\nC,c\n", "c", f"Row 2 ({'x' * 77}...): the pro"),
    case("a.csv", "reference,prompt,seed\nA,a,x\nNULL,b,y\nC,c,1\n", "c",
         "Row 2 (A): column 'seed' holds 'x', not a whole number; correct it or drop the row. The "
         "same holds for 1 more: 3."),
]  # fmt: skip

LONG_LINES = [
    case("a.csv", "prompt\na\n" + "x" * (LONG + 1) + "\nb\n", "a|b", "Row 3: it is longer than 1,"),
    case("a.txt", "a\n" + "x" * 10_000_000, "a", "Row 2: it is longer than"),
    case("a.tsv", "prompt\treference\n" + "x" * LONG + "\t1\nb\t2\n", "b", "Row 2: it is longer t"),
    case("a.csv", 'prompt\n"' + ("x" * 90_000 + "\n") * 12 + 'y"\nb\n',
         "|".join(["x" * 90_000] * 11) + '|y"|b', f"Row 2: {OPEN}"),
    case("a.json", '{"prompt": "a", "x": "' + "x" * 10_000_000 + '"}', "a"),
]  # fmt: skip

ALL = [*QUOTES, *SHAPES, *HEADERS, *JSON, *ENCODINGS, *REFERENCES, *LONG_LINES]


@pytest.mark.parametrize("given", ALL, ids=[f"{n}-{each.name}" for n, each in enumerate(ALL)])
def test_each_fault_is_one_clear_line_and_good_rows_go_on(tmp_path: Path, given: Case) -> None:
    path = tmp_path / given.name
    path.write_bytes(given.content)
    started = time.monotonic()
    try:
        batch = read_batch(read_file(path), RECIPE)
    except HierdiffError as refusal:
        texts, lines = [], [str(refusal).replace(str(path), "PATH")]
    else:
        texts = [prompt.text for prompt in batch.prompts]
        lines = [kind.line() for kind in by_kind(batch.rejected)]
    assert time.monotonic() - started < SECONDS
    assert texts == list(given.good)
    assert len(lines) == len(given.rejected), lines
    for line, wanted in zip(lines, given.rejected, strict=True):
        assert line.startswith(wanted)
        assert line == printable(line)
        assert len(line) < 1000
