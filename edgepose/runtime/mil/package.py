"""Read a Core ML package into plain data: the operations of its ML program, with every constant in memory.

Nothing is simplified, folded or rewritten on the way. Messages and field numbers are those of ``Model.proto``, ``FeatureTypes.proto`` and
``MIL.proto`` in ``mlmodel/format`` of apple/coremltools, BSD-3-Clause.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgepose.artifact.coreml import find_inside, find_model
from edgepose.artifact.message import Message
from edgepose.errors import ArtifactError
from edgepose.runtime.mil.elements import ELEMENT_TYPES, Array, TensorType, decode
from edgepose.runtime.mil.weights import read_weight

__all__ = ["Operation", "Program", "read_package"]

ReadWeight = Callable[[Path, int, TensorType], Array]

# Fields by message; an operation's blocks (field 4) would be the bodies of loops and conditions.
_MODEL_FIELDS, _PROGRAM_FIELDS, _FUNCTION_FIELDS = {1, 2, 502}, {1, 2, 3, 4}, {1, 2, 3, 4}
_BLOCK_FIELDS, _OPERATION_FIELDS = {1, 2, 3, 4}, {1, 2, 3, 5}
_MAX_MODEL_BYTES = 1 << 31  # protobuf's own limit
_ML_PROGRAM = 502
_MODEL_KINDS = {202: "pipeline", 303: "neuralNetworkRegressor", 403: "neuralNetworkClassifier", 500: "neuralNetwork"}
_FIRST_MODEL_KIND = 200
_MODEL_FOLDER = "@model_path/"
_SHOWN_LETTERS, _MAX_SHOWN_SIZES = 200, 8
# The lists of a TensorValue that aren't made of whole numbers.
_STRINGS, _BYTES = 4, 7
_REALS = {1: "<f4", 6: "<f8"}
_VALUE_KINDS = {2: "list", 3: "tuple", 4: "dictionary", 5: "state"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation.

    Attributes:
        operator: its type, such as ``conv``.
        name: its own name.
        arguments: parameter → values; a string names the output of an earlier operation or an input, an array is a constant.
        outputs: name and declared type of each result.
    """

    operator: str
    name: str
    arguments: Mapping[str, tuple[str | Array, ...]]
    outputs: tuple[tuple[str, TensorType], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """The one function of an ML program.

    Attributes:
        inputs: name → type.
        ranges: name → smallest and largest size of each dimension (``None``: no limit), for inputs of flexible shape.
        outputs: names of the results.
        operations: in the order in which they run.
        metadata: the user-defined metadata.
    """

    inputs: Mapping[str, TensorType]
    ranges: Mapping[str, tuple[tuple[int, int | None], ...]]
    outputs: tuple[str, ...]
    operations: tuple[Operation, ...]
    metadata: Mapping[str, str]


def read_package(package: Path, operators: Collection[str], weights: ReadWeight = read_weight) -> Program:
    """Read an ``.mlpackage`` folder.

    Args:
        package: the folder.
        operators: the operation types that the reader may return.
        weights: reads a value from a weight file; ``check_weight`` where the values themselves aren't needed.

    Raises:
        ArtifactError: it isn't a package, is damaged or incomplete, holds another kind of model or several functions, refers to a file
            outside of it, or uses an operation that isn't in ``operators``.
    """
    path = find_model(package)
    try:
        if path.stat().st_size > _MAX_MODEL_BYTES:
            raise ArtifactError(f"{path}: is {path.stat().st_size} bytes; a Core ML model has at most {_MAX_MODEL_BYTES}")
        model = Message(memoryview(path.read_bytes()), path)
    except OSError as error:
        raise ArtifactError(f"{path}: can't be read: {error.strerror or error}") from None
    if _ML_PROGRAM not in model:
        kinds = [_MODEL_KINDS.get(number, f"model type {number}") for number in model.field_numbers() if number >= _FIRST_MODEL_KIND]
        raise ArtifactError(f"{path}: holds {', '.join(kinds) or 'no model'}; expected an ML program (mlProgram)")
    _expect(model, _MODEL_FIELDS, "the model")
    program = model.message(_ML_PROGRAM)
    _expect(program, _PROGRAM_FIELDS, "the program")
    functions = program.entries(2)
    if len(functions) != 1:
        raise ArtifactError(f"{path}: holds {len(functions)} functions ({', '.join(functions)[:_SHOWN_LETTERS]}); expected one")
    (function,) = functions.values()
    _expect(function, _FUNCTION_FIELDS, "the function")
    inputs = {value.text(1): _type(value.message(2), value.text(1)) for value in function.messages(1)}
    opset = function.text(2)
    block = function.entries(3).get(opset)
    if block is None:
        raise ArtifactError(f"{path}: its function has no body for its operation set {opset[:_SHOWN_LETTERS]!r}")
    _expect(block, _BLOCK_FIELDS, "the function's body")
    description = model.message(2)
    return Program(
        inputs=inputs,
        ranges={feature.text(1): ranges for feature in description.messages(1) if (ranges := _ranges(feature))},
        outputs=tuple(block.texts(2)),
        operations=tuple(_operation(message, operators, weights) for message in block.messages(3)),
        metadata={entry.text(1): entry.text(2) for entry in description.message(100).messages(100)},
    )


def _operation(message: Message, operators: Collection[str], weights: ReadWeight) -> Operation:
    _expect(message, _OPERATION_FIELDS, "an operation")
    operator, attributes = message.text(1), message.entries(5)
    name = (
        str(_value(attributes.pop("name"), weights)) if "name" in attributes else ", ".join(value.text(1) for value in message.messages(3))
    )
    if operator not in operators:
        known = ", ".join(sorted(operators))
        raise ArtifactError(
            f"{message.path}: operator {operator[:_SHOWN_LETTERS]!r} (named {name[:_SHOWN_LETTERS]!r}) isn't supported; supported: {known}"
        )
    arguments: dict[str, tuple[str | Array, ...]] = {key: (_value(value, weights),) for key, value in attributes.items()}
    for key, argument in message.entries(2).items():
        arguments[key] = tuple(binding.text(1) if 1 in binding else _value(binding.message(2), weights) for binding in argument.messages(1))
    outputs = tuple((value.text(1), _type(value.message(2), value.text(1))) for value in message.messages(3))
    return Operation(operator=operator, name=name, arguments=arguments, outputs=outputs)


def _expect(message: Message, fields: set[int], what: str) -> None:
    unknown = sorted(set(message.field_numbers()) - fields)
    if unknown:
        raise ArtifactError(f"{message.path}: {what} has the field(s) {', '.join(map(str, unknown))}, which aren't supported")


def _type(message: Message, name: str) -> TensorType:
    if 1 not in message:
        kinds = [_VALUE_KINDS.get(number, f"value type {number}") for number in message.field_numbers()]
        raise ArtifactError(
            f"{message.path}: {name[:_SHOWN_LETTERS]!r} is a {', '.join(kinds) or 'value without a type'}; only tensors are supported"
        )
    tensor = message.message(1)
    number = tensor.integer(1)
    if number not in ELEMENT_TYPES:
        known = ", ".join(element.name for element in ELEMENT_TYPES.values())
        raise ArtifactError(f"{message.path}: {name[:_SHOWN_LETTERS]!r} has element type {number}; supported: {known}")
    # A dimension is either a constant (field 1) or unknown.
    shape = tuple(size.message(1).integer(1) if 1 in size else None for size in tensor.messages(3))
    if any(size is not None and size < 0 for size in shape):
        raise ArtifactError(f"{message.path}: damaged: {name[:_SHOWN_LETTERS]!r} has shape {shape[:_MAX_SHOWN_SIZES]}")
    return TensorType(ELEMENT_TYPES[number], shape)


def _value(message: Message, weights: ReadWeight) -> Array:
    kind = _type(message.message(2), "a constant")
    if None in kind.shape:
        raise ArtifactError(f"{message.path}: damaged: a constant has the unknown shape {kind}")
    if 5 in message:
        blob = message.message(5)
        name = blob.text(1)
        if not name.startswith(_MODEL_FOLDER):
            raise ArtifactError(f"{message.path}: names the weight file {name[:_SHOWN_LETTERS]!r}; expected {_MODEL_FOLDER}…")
        return weights(find_inside(message.path.parent, name.removeprefix(_MODEL_FOLDER), message.path), blob.integer(2), kind)
    tensor = message.message(3).message(1)
    try:
        return _immediate(tensor, kind)
    except (ValueError, OverflowError) as error:
        raise ArtifactError(f"{message.path}: damaged: a constant of type {kind}: {error}") from None


def _immediate(tensor: Message, kind: TensorType) -> Array:
    """Decode a ``TensorValue``: one of seven lists, whichever the element type is stored in."""
    number = next(iter(tensor.field_numbers()), 0)
    stored, shape = tensor.message(number), tuple(size or 0 for size in kind.shape)
    if number == _BYTES:
        return decode(np.frombuffer(stored.raw(1), np.uint8), kind)
    if (number == _STRINGS) != (kind.element.name == "string"):
        raise ValueError("it is stored as another type")
    if number == _STRINGS:
        return np.array(stored.texts(1)).reshape(shape)
    values = stored.reals(1, _REALS[number]) if number in _REALS else np.array(stored.integers(1), np.int64)
    return values.astype(kind.element.dtype).reshape(shape)


def _ranges(feature: Message) -> tuple[tuple[int, int | None], ...]:
    """Return the allowed sizes of each dimension of a multi-array with a shape range; a negative upper bound means none."""
    sizes = feature.message(3).message(5).message(31).messages(1)
    return tuple((size.integer(1), upper if (upper := size.integer(2)) >= 0 else None) for size in sizes)
