"""The page's look into a packed file, in a real browser: decoded there, shown as text, and nothing leaves it."""

import base64
import json

import pytest
import torch
from conftest import browser_page
from make_vectors import FOLDER, drawn, read
from packed_parts import any_network
from refused import refused

import wfn
from pipeline.report.page import page as page_of

HOSTILE = '<img src=x onerror="window.harmed = 1">'
# Decodes a file in base64 with the page's decoder; what it holds as text, or what is wrong with it.
DECODE = """async content => {
  const bytes = Uint8Array.from(atob(content), letter => letter.charCodeAt(0)), found = {};
  try {
    const packed = await openPacked(bytes.buffer), all = new Map();
    for await (const { entry, bits } of tensorsOf(packed)) {
      all.set(entry.name, bits ?? all.get(entry.same));
      found[entry.name] = [entry.dtype, entry.shape, [...all.get(entry.name)].map(String)];
    }
    return found;
  } catch (error) {
    return error instanceof PackedError ? error.message : `not foreseen: ${error}`;
  }
}"""


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """The page, opened from disk; a test fails where it asks for anything else or where its console has an error."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "index.html").write_text(page_of("Some report", "A headline", []), encoding="utf-8")
    with browser_page(folder / "profile") as page:
        problems = []
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: problems.append(request.url))
        page.goto((folder / "index.html").as_uri())
        assert problems.pop().endswith("index.html")
        yield page
        assert [problem for problem in problems if not problem.startswith("data:")] == []


def choose(page, path):
    """Put a file into the page; what it says of it."""
    page.locator("#packed input").set_input_files(path)
    said = page.locator("#packed [role=status]")
    page.wait_for_function(
        "/ is whole| cannot be read/.test(document.querySelector('#packed [role=status]').textContent)"
    )
    return said.text_content()


@pytest.fixture(scope="module")
def state():
    weights = drawn([0.0, 0.5, -0.25, 0.125], [9, 4, 2, 1], 6000).reshape(60, 100)
    noise = torch.arange(1, 301, dtype=torch.int32).view(torch.float32)
    return {
        HOSTILE: weights[:3].clone(),
        "layer.weight": weights,
        "tied": weights,
        "half": weights[:9].bfloat16(),
        "partly": torch.cat([noise, torch.zeros(300)]),
        "bias": torch.full((64,), 0.5),
        "steps": torch.tensor(7),
        "buffer": noise + 1,
        "none": torch.empty(0, 4),
        "mask": weights[0] > 0,
    }


@pytest.fixture
def file(state, tmp_path):
    path = tmp_path / "small.wfn"
    network = {"timm": "resnet18", "arguments": {}, "classes": ["a", HOSTILE]}
    with any_network():
        wfn.pack(state, path, network=network, metadata={"top1": 93.25, "delta": 0.01, "alpha": 0.4, HOSTILE: HOSTILE})
    return path


def test_it_shows_what_inspect_says(opened, file, state):
    assert choose(opened, file) == f"small.wfn is whole: {len(state)} tensors"
    contents = wfn.inspect(file)
    rows = opened.locator("#packed tbody tr").all()
    shown = [[cell.text_content() for cell in row.locator("td").all()] for row in rows]
    assert shown == [
        [
            layer.name,
            layer.dtype,
            " × ".join(map(str, layer.shape)) or "one number",
            layer.coding,
            f"{layer.distinct:,}",
            f"{layer.entropy:.2f}",
            f"{layer.bytes:,}",
        ]
        for layer in contents.layers
    ]
    terms, facts = (opened.locator(f"#packed {tag}").all_text_contents() for tag in ("dt", "dd"))
    assert dict(zip(terms, facts, strict=True)) == {
        "Network": "resnet18",
        "Classes": "2",
        "Top-1, %": "93.25",
        "δ": "0.01",
        "α": "0.4",
        HOSTILE: HOSTILE,
        "Bytes": f"{contents.bytes:,}",
        "Smaller than its tensors in memory": f"{contents.unpacked_bytes / contents.bytes:.1f} times",
        "Coded weights": f"{len(contents.codebook):,} distinct values, {contents.entropy:.2f} bits each",
    }


def test_it_draws_the_values_used_most(opened, file):
    choose(opened, file)
    contents = wfn.inspect(file)
    most = contents.usage.argsort(descending=True, stable=True)[:4]
    texts = opened.locator("#packed svg text").all_text_contents()
    assert len(texts) == 2 * min(24, len(contents.codebook)) == 2 * opened.locator("#packed svg rect").count()
    assert [float(text) for text in texts[:8:2]] == contents.codebook[most].tolist()
    shares = [float(text.removesuffix(" %")) for text in texts[1:8:2]]
    assert shares == pytest.approx((100 * contents.usage[most] / contents.usage.sum()).tolist(), rel=0.005)


def test_names_are_text(opened, file):
    choose(opened, file)
    assert opened.locator("#packed .contents img").count() == 0
    assert opened.evaluate("window.harmed") is None


def test_its_table_sorts(opened, file):
    choose(opened, file)
    heading = opened.locator("#packed th", has_text="Bytes")
    heading.locator("button").click()
    shown = [int(text.replace(",", "")) for text in opened.locator("#packed td:last-child").all_text_contents()]
    assert shown == sorted(shown)
    assert heading.get_attribute("aria-sort") == "ascending"


def test_a_damaged_file_is_said_to_be_one(opened, file):
    choose(opened, file)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    (file.parent / "damaged.wfn").write_bytes(content)
    assert "damaged" in choose(opened, file.parent / "damaged.wfn").removeprefix("damaged.wfn")
    assert opened.locator("#packed .contents").text_content() == ""
    (file.parent / "picture.wfn").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    assert choose(opened, file.parent / "picture.wfn") == "picture.wfn cannot be read: it is no packed file"


def test_a_file_can_be_dropped(opened, file):
    content = base64.b64encode(file.read_bytes()).decode()
    opened.evaluate(
        """content => {
          const bytes = Uint8Array.from(atob(content), letter => letter.charCodeAt(0));
          const dataTransfer = new DataTransfer();
          dataTransfer.items.add(new File([bytes], "dropped.wfn"));
          const event = new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true });
          document.querySelector("#packed .drop").dispatchEvent(event);
        }""",
        content,
    )
    opened.wait_for_function(
        "document.querySelector('#packed [role=status]').textContent.startsWith('dropped.wfn is whole')"
    )


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.wfn")), ids=lambda path: path.stem)
def test_it_decodes_the_vectors(opened, path):
    expected = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["tensors"]
    found = opened.evaluate(DECODE, base64.b64encode(path.read_bytes()).decode())
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert found[name] == [tensor["dtype"], tensor["shape"], [str(bit) for bit in read(tensor["bits"])]]


def test_it_refuses_what_the_page_of_the_format_says(opened):
    for what, content in refused():
        said = opened.evaluate(DECODE, base64.b64encode(content).decode())
        assert isinstance(said, str), what
        assert not said.startswith("not foreseen"), (what, said)


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float32", "float64", "float8_e4m3fn", "float8_e5m2"])
def test_bit_patterns_are_the_numbers_that_they_are(opened, kind):
    dtype = getattr(torch, kind)
    values = torch.tensor([0.0, -0.0, 1.0, -1.5, 0.0625, 448.0, 0.015625, 2.0**-9, float("nan")]).to(dtype)
    if kind != "float8_e4m3fn":
        values = torch.cat([values, torch.tensor([float("inf"), float("-inf")]).to(dtype)])
    size = values.element_size()
    bits = values.view({1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[size]).tolist()
    found = opened.evaluate(
        "([bits, kind]) => bits.map(bit => String(toNumber(kind === 'float64' ? BigInt(bit) : Number(bit), kind)))",
        [[str(bit % 2 ** (8 * size)) for bit in bits], kind],
    )
    assert str([float(each) for each in found]) == str([value + 0.0 for value in values.double().tolist()])
