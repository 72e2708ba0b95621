"""Checkpoints whose config, header or values say what no checkpoint may say, chosen at random."""

from __future__ import annotations

from typing import Any

from tests.core.checkpoint.checkpoint_parts import Parts

BFLOAT16_NAN, BFLOAT16_INFINITY = b"\xc0\x7f", b"\x80\x7f"
FLOAT32_NAN = b"\x00\x00\xc0\x7f"
NO_SIZES = (-1, -(2**60), 2**62, 2**64, 2**200, 0.5, 1e999, True, None, "16", [16], {})
NO_FORMATS = (0, 3, 5, 15, 24, 40, 2048, *NO_SIZES)


def number_of_format(parts: Parts) -> None:
    key = parts.random.choice(["bits", "group_size"])
    wrong = [value for value in NO_FORMATS if value != parts.quantization[key]]
    parts.quantization[key] = parts.random.choice(wrong)


def group_size_of_others(parts: Parts) -> None:
    parts.quantization["group_size"] = parts.random.choice([32, 48, 64, 128, 1024])


def field_of_quantization(parts: Parts) -> None:
    key = parts.random.choice(["method", "bits", "group_size", "overrides", "zero_point"])
    if key in parts.quantization and parts.random.random() < 0.4:
        del parts.quantization[key]
    else:
        parts.quantization[key] = parts.random.choice(["", "magic", [], [[]], None, 1.5, True, {"a": 1}])


def override(parts: Parts) -> None:
    names = [
        "layers.9.cell.B",
        "layers.0.norm.weight",
        "",
        "layers.-1.cell.B",
        "layers.00.cell.B",
        "x" * 5000,
    ]
    names += [f"layers.{10**30}.cell.B", "lm_head.weight.qweight", "layers.0.mlp.up_proj.weight"]
    chosen = parts.random.choice(names)
    parts.quantization.setdefault("overrides", {})[chosen] = {"bits": 8, "group_size": 16}


def override_without_sense(parts: Parts) -> None:
    wrong: list[Any] = [None, 8, [], {}, {"bits": 8}, {"bits": 8, "group_size": 16, "x": 1}]
    wrong += [{"bits": 8, "group_size": size} for size in NO_FORMATS]
    parts.quantization["overrides"] |= {"embedding.weight": parts.random.choice(wrong)}


def many_overrides(parts: Parts) -> None:
    count = parts.random.randint(1000, 8000)
    parts.quantization["overrides"] |= {
        f"layers.{i}.cell.B": {"bits": 8, "group_size": 16} for i in range(count)
    }


def claimed_layers(parts: Parts) -> None:
    parts.config["num_hidden_layers"] = parts.random.choice([3, 8, 1000, 50_000, 2**31, 10**30, *NO_SIZES])


def size_of_config(parts: Parts) -> None:
    key = parts.random.choice(["hidden_size", "num_heads", "vocab_size", "intermediate_size", "conv_kernel"])
    wrong = [0, 1, 3, 64, 2**31, 2**40, 10**18, *NO_SIZES]
    parts.config[key] = parts.random.choice(
        [value for value in wrong if key != "intermediate_size" or value is not None]
    )


def many_entries(parts: Parts) -> None:
    for i in range(parts.random.randint(1000, 30_000)):
        parts.header[f"layers.{i + 2}.cell.A"] = {"dtype": "F32", "shape": [0]}
    parts.config["num_hidden_layers"] = len(parts.header) // parts.random.choice([1, 6, 20])


def truncated_rows_or_columns(parts: Parts) -> None:
    """A sound file whose tensor has another shape than the config says."""
    name = parts.pick(parts.random.choice([".scales", ".qweight"]))
    rows, columns = parts.header[name]["shape"]
    size = len(parts.tensors[name]) // (rows * columns)
    shape = parts.random.choice(
        [[rows - 1, columns], [rows, columns - 1], [rows * columns], [1, rows, columns], [0]]
    )
    parts.header[name]["shape"] = shape
    count = 1
    for each in shape:
        count *= each
    del parts.tensors[name][count * size :]


def dtype(parts: Parts) -> None:
    name = parts.random.choice(list(parts.header))
    known = ["F64", "F32", "F16", "BF16", "I8", "U8", "BOOL", "I64", "F8_E4M3", "F13", "", 5, None, ["F32"]]
    parts.header[name]["dtype"] = parts.random.choice(
        [each for each in known if each != parts.header[name]["dtype"]]
    )


def shape(parts: Parts) -> None:
    name = parts.random.choice(list(parts.header))
    wrong = [
        [2**60],
        [2**31, 2**31],
        [2**61, 8],
        [2**32, 2**32],
        [0],
        [],
        [-1, -16],
        [1] * 9,
        [2**200],
        5,
        None,
    ]
    parts.header[name]["shape"] = parts.random.choice([*wrong, [parts.random.choice(NO_SIZES)], "[1]"])


def offsets(parts: Parts) -> None:
    parts.weights_file()
    parts.keeps_offsets = True
    name = parts.random.choice(list(parts.header))
    start, end = parts.header[name]["data_offsets"]
    shift = parts.random.choice([-4, -2, -1, 1, 2, 64, 2**40, 2**61, -(2**40)])
    wrong: list[Any] = [[start + shift, end + shift], [start, end + shift], [end, start], [start], [], None]
    wrong += [
        [start, end, end],
        [start + 0.5, end],
        [str(start), str(end)],
        [parts.random.choice(NO_SIZES), end],
    ]
    parts.header[name]["data_offsets"] = parts.random.choice(wrong)


def two_in_one_place(parts: Parts) -> None:
    parts.weights_file()
    parts.keeps_offsets = True
    first, second = parts.random.sample(list(parts.header), 2)
    parts.header[first]["data_offsets"] = list(parts.header[second]["data_offsets"])


def entry(parts: Parts) -> None:
    name = parts.random.choice(list(parts.header))
    parts.weights_file()
    parts.keeps_offsets = True
    if parts.random.random() < 0.5:
        del parts.header[name][parts.random.choice(["dtype", "shape", "data_offsets"])]
    else:
        parts.header[name]["scale"] = 1


def spoil(parts: Parts, name: str, value: bytes) -> None:
    tensor = parts.tensors[name]
    at = parts.random.randrange(len(tensor) // len(value)) * len(value)
    tensor[at : at + len(value)] = value


def scales_that_are_no_numbers(parts: Parts) -> None:
    negative = bytes([parts.random.choice([0x7F, 0xFF])])
    value = parts.random.choice([BFLOAT16_NAN, BFLOAT16_INFINITY])
    spoil(parts, parts.pick(".scales"), value[:1] + negative)


def floats_that_are_no_numbers(parts: Parts) -> None:
    floats = [name for name, each in parts.header.items() if each["dtype"] == "F32"]
    spoil(parts, parts.random.choice(floats), FLOAT32_NAN)


def smallest_byte(parts: Parts) -> None:
    integers = [name for name, each in parts.header.items() if each["dtype"] == "I8"]
    spoil(parts, parts.random.choice(integers), b"\x80")


def padding(parts: Parts) -> None:
    """The high nibble of the last byte of a row of an odd number of inputs."""
    name = parts.pick("down_proj.weight.qweight")
    rows, columns = parts.header[name]["shape"]
    at = parts.random.randrange(rows) * columns + columns - 1
    nibble = parts.random.choice([value for value in range(16) if value != 8])
    parts.tensors[name][at] = parts.tensors[name][at] & 15 | nibble << 4


def missing(parts: Parts) -> None:
    name = parts.random.choice(list(parts.header))
    del parts.header[name], parts.tensors[name]


def renamed(parts: Parts) -> None:
    name = parts.random.choice(list(parts.header))
    wrong = [
        name + "x",
        name.upper(),
        name.removesuffix(".qweight") + ".weight",
        "",
        "../" + name,
        "\0" + name,
    ]
    other = parts.random.choice([each for each in wrong if each != name])
    parts.header[other], parts.tensors[other] = parts.header.pop(name), parts.tensors.pop(name)


def float_beside_integers(parts: Parts) -> None:
    name = parts.pick(".qweight").removesuffix(".qweight")
    parts.header[name] = {"dtype": "F32", "shape": [4, 4]}
    parts.tensors[name] = bytearray(64)


FIELDS = (
    number_of_format,
    group_size_of_others,
    field_of_quantization,
    override,
    override_without_sense,
    many_overrides,
    claimed_layers,
    size_of_config,
    many_entries,
    truncated_rows_or_columns,
    dtype,
    shape,
    offsets,
    two_in_one_place,
    entry,
    scales_that_are_no_numbers,
    floats_that_are_no_numbers,
    smallest_byte,
    padding,
    missing,
    renamed,
    float_beside_integers,
)
"""Refused for what they are, with or without a fingerprint."""
