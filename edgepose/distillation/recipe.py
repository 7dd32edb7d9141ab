"""Recipes: everything that decides how a run trains, as one frozen, checked document. ``recipe_files`` reads them."""

from dataclasses import dataclass, field
from typing import Literal

from edgepose.errors import SpecError
from edgepose.spec import InputSpec

__all__ = [
    "Adapter",
    "Augmentation",
    "Initialization",
    "LabelRules",
    "Labels",
    "Optimizer",
    "Phase",
    "Recipe",
    "Source",
    "Student",
    "Teacher",
    "Validation",
]

Labels = Literal["own", "fill", "merge", "teacher"]


def _within(what: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise SpecError(f"{what} is {value:g}; allowed: {low:g} to {high:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Student:
    """The network to train.

    Attributes:
        model: ``vitpose-SIZE`` or ``vitpose-SIZE-simple``; sizes: ti, s, b, l, h, or numbers, ``CHANNELSxBLOCKSxHEADS``.
        skeleton: name of a built-in keypoint set.
        drop_path: largest share of dropped residual branches (stochastic depth); grows linearly from 0 in the first block.
    """

    model: str = "vitpose-s"
    skeleton: str = "coco"
    drop_path: float = 0.0

    def __post_init__(self) -> None:
        _within("student.drop_path", self.drop_path, 0, 0.9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Initialization:
    """Where the student's first weights come from.

    Attributes:
        kind: ``mimetic``: from scratch, attention set up as trained attention looks (arXiv 2305.09828); ``random``: from scratch as usual;
            ``checkpoint``: a ViTPose, of which whatever fits is taken; ``vit``: the backbone of a masked autoencoder, DINOv2, DeiT or
            another ViT, as its authors, timm or Hugging Face publish it.
        path: the file, for ``checkpoint`` and ``vit``.
    """

    kind: Literal["mimetic", "random", "checkpoint", "vit"] = "mimetic"
    path: str = ""

    def __post_init__(self) -> None:
        if (self.kind in ("checkpoint", "vit")) != bool(self.path):
            raise SpecError(f"init.kind is {self.kind!r} and init.path {self.path!r}: 'checkpoint' and 'vit' need a path, others take none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One data set.

    Attributes:
        name: for logs, and for ``validation.source``.
        format: ``coco`` (keypoint JSON), ``lsp`` (arrays ``.npz`` with the pictures in a ``.zip`` beside it), ``photos`` (a folder), or
            ``auto``: by what the path is.
        path: relative to ``--data``.
        images: folder of the pictures of a COCO file, relative to ``--data``; empty: found beside the annotations.
        share: of all training samples; ``None`` gives sources without a share the rest, by their number of people.
        labels: ``own``; ``fill``: own, gaps filled by the teacher; ``merge``: own, gaps filled and faults repaired where a confident
            teacher disagrees; ``teacher``: the teacher's alone.
        teacher_points: name of the array in an LSP file that holds what the keypoint teacher found.
    """

    name: str
    path: str
    format: Literal["auto", "coco", "lsp", "photos"] = "auto"
    images: str = ""
    share: float | None = None
    labels: Labels = "own"
    teacher_points: str = ""

    def __post_init__(self) -> None:
        if self.share is not None:
            _within(f"the share of source {self.name!r}", self.share, 0, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRules:
    """When a keypoint teacher's word counts. Scores are the teacher's, distances are relative to the torso.

    Attributes:
        fill_score: a missing label is filled from this score on.
        fill_weight: weight of filled labels in the loss.
        trust_score: from this score on, the teacher is compared with a label (``merge``).
        overrule_score: from this score on, it replaces a label that is far away.
        far: distance from which teacher and label disagree.
    """

    fill_score: float = 0.4
    fill_weight: float = 0.7
    trust_score: float = 0.6
    overrule_score: float = 0.75
    far: float = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """How progress is measured, on people that training never sees.

    Attributes:
        source: name of the data source that people are held out of, or that is kept for validation as a whole (``count = 0``); empty: none.
        count: how many people to hold out.
        metric: ``pck`` (PCK@0.2 of the torso) or ``oks`` (mean object keypoint similarity).
        every: images between two measurements.
        near_duplicate: pictures that correlate with a held-out one by more than this, as they are or mirrored, aren't trained on.
    """

    source: str = ""
    count: int = 200
    metric: Literal["pck", "oks"] = "pck"
    every: int = 10_000
    near_duplicate: float = 0.9

    def __post_init__(self) -> None:
        _within("validation.count", self.count, 0, 1_000_000)
        _within("validation.every", self.every, 1, 10**12)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """What goes into and comes out of a keypoint teacher in an ONNX file. The defaults are MoveNet's.

    Attributes:
        height: of the input in pixels, a multiple of 16.
        width: of the input in pixels, a multiple of 16.
        layout: of the input: ``nhwc`` or ``nchw``; RGB.
        dtype: of the input; integers are 0…255.
        mean: per channel, of 0…255; ``float32`` only.
        std: per channel, of 0…255; ``float32`` only.
        padding: the box, grown to the input's aspect ratio, is enlarged by this factor.
        skeleton: name of the keypoint set of the output, whose last axes are (keypoints, 3).
        columns: what the three numbers of a keypoint are.
        unit: of x and y: ``share`` of the crop's width and height, or ``pixel``.
    """

    height: int = 256
    width: int = 256
    layout: Literal["nhwc", "nchw"] = "nhwc"
    dtype: Literal["int32", "uint8", "float32"] = "int32"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    padding: float = 1.25
    skeleton: str = "coco"
    columns: tuple[str, str, str] = ("y", "x", "score")
    unit: Literal["share", "pixel"] = "share"

    def __post_init__(self) -> None:
        InputSpec(height=self.height, width=self.width)
        if sorted(self.columns) != ["score", "x", "y"]:
            raise SpecError(f"adapter.columns is {list(self.columns)}; it must name x, y and score, each once")


@dataclass(frozen=True, slots=True, kw_only=True)
class Teacher:
    """A larger model to learn from.

    Attributes:
        path: a ViTPose checkpoint (file, folder or hub id) or an ``.onnx`` file; usually given with ``--teacher``.
        weight: of the loss against a ViTPose teacher's heatmaps; the labels' loss has weight 1.
        knowledge_token: learn a token on the frozen teacher and train the student with it (ViTPose, arXiv 2204.12484, section 3).
        token_images: images that the token is learned on.
        token_learning_rate: of the token.
        adapter: what goes into and comes out of a keypoint teacher in an ONNX file.
    """

    path: str = ""
    weight: float = 1.0
    knowledge_token: bool = False
    token_images: int = 20_000
    token_learning_rate: float = 5e-3
    adapter: Adapter = Adapter()

    def __post_init__(self) -> None:
        _within("teacher.weight", self.weight, 0, 1000)
        _within("teacher.token_images", self.token_images, 1, 10**12)
        _within("teacher.token_learning_rate", self.token_learning_rate, 0, 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """Random changes of the training samples; geometry as in mmpose's top-down pipeline, which trained ViTPose.

    Attributes:
        flip: probability of a mirrored sample.
        half_body: probability of a box around the upper or the lower body alone.
        scale: standard deviation of the box's size relative to 1, cut off at one deviation (mmpose's ``scale_factor``).
        rotation_deg: standard deviation of the rotation, cut off at two deviations.
        rotation: probability of a rotation.
        shift: standard deviation of the box's place, relative to its size.
        erase: probability of a rectangle in one colour.
        brightness: brightness is multiplied by 1 ± this.
        contrast: contrast, likewise.
        saturation: saturation, likewise.
        tint: each colour channel, likewise.
        grey: probability of a picture without colour.
        noise: largest standard deviation of pixel noise, of 255 levels.
    """

    flip: float = 0.5
    half_body: float = 0.3
    scale: float = 0.5
    rotation_deg: float = 40.0
    rotation: float = 0.6
    shift: float = 0.0
    erase: float = 0.0
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.3
    tint: float = 0.05
    grey: float = 0.02
    noise: float = 0.0

    def __post_init__(self) -> None:
        for name in ("flip", "half_body", "rotation", "erase", "grey"):
            _within(f"augmentation.{name}", getattr(self, name), 0, 1)
        for name in ("scale", "shift", "brightness", "contrast", "saturation", "tint"):
            _within(f"augmentation.{name}", getattr(self, name), 0, 0.9)
        _within("augmentation.rotation_deg", self.rotation_deg, 0, 180)
        _within("augmentation.noise", self.noise, 0, 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimizer:
    """AdamW and what stands around it.

    Attributes:
        weight_decay: of matrices and kernels; biases, norms and positions have none.
        betas: of the moments.
        layer_decay: the learning rate is multiplied by this for each block further from the head.
        clip: largest norm of the gradient; 0 doesn't clip.
        ema_half_life: images after which an old weight counts half in the averaged weights, which are those that are kept.
    """

    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.999)
    layer_decay: float = 1.0
    clip: float = 1.0
    ema_half_life: int = 10_000

    def __post_init__(self) -> None:
        _within("optimizer.weight_decay", self.weight_decay, 0, 10)
        _within("optimizer.layer_decay", self.layer_decay, 0.01, 1)
        _within("optimizer.clip", self.clip, 0, 1e6)
        _within("optimizer.ema_half_life", self.ema_half_life, 1, 10**12)
        for beta in self.betas:
            _within("optimizer.betas", beta, 0, 0.9999999)


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A stretch of training. Lengths are counted in images, so that they mean the same for every batch size and number of devices.

    Attributes:
        name: for logs and checkpoints.
        images: how many training samples.
        height: of the input in pixels, a multiple of 16.
        width: of the input in pixels, a multiple of 16.
        batch: samples per step, over all devices together.
        learning_rate: at the start, after the warm-up.
        final_learning_rate: at the end; ``None`` is ``learning_rate``: constant.
        curve: from one to the other: ``linear`` or ``cosine``.
        warmup: images over which the learning rate rises from zero.
        cross_entropy: weight of the cross-entropy over each heatmap's pixels.
        mse: weight of the squared error, relative to that of an empty heatmap.
        token: train with the knowledge token, where there is one. A last phase without it leaves a plain ViTPose that doesn't miss it.
    """

    name: str
    images: int
    height: int = 256
    width: int = 192
    batch: int = 64
    learning_rate: float = 5e-4
    final_learning_rate: float | None = None
    curve: Literal["linear", "cosine"] = "cosine"
    warmup: int = 0
    cross_entropy: float = 0.0
    mse: float = 1.0
    token: bool = True

    def __post_init__(self) -> None:
        _within(f"the images of phase {self.name!r}", self.images, 1, 10**12)
        _within(f"the batch of phase {self.name!r}", self.batch, 1, 1_000_000)
        _within(f"the learning_rate of phase {self.name!r}", self.learning_rate, 0, 10)
        _within(f"the warmup of phase {self.name!r}", self.warmup, 0, 10**12)
        if min(self.cross_entropy, self.mse) < 0 or self.cross_entropy + self.mse == 0:
            raise SpecError(f"phase {self.name!r} has cross_entropy {self.cross_entropy} and mse {self.mse}; one of them must be above 0")
        InputSpec(height=self.height, width=self.width)

    @property
    def steps(self) -> int:
        """Number of steps; the last one may go beyond ``images``."""
        return -(-self.images // self.batch)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A whole run.

    Attributes:
        name: the model's name.
        description: what it is for.
        phases: one after the other.
        data: where samples come from; empty: what ``--data`` names, as it is.
        student: the network.
        init: its first weights.
        teacher: whom it learns from; an empty path is none.
        labels: when a keypoint teacher's word counts.
        validation: how progress is measured.
        augmentation: random changes of the samples.
        optimizer: AdamW.
        seed: of everything that is random.
        licence: of the weights, an SPDX id, where known.
        notes: what a user of the weights should know; written into them.
    """

    name: str
    phases: tuple[Phase, ...]
    description: str = ""
    data: tuple[Source, ...] = ()
    student: Student = Student()
    init: Initialization = Initialization()
    teacher: Teacher = Teacher()
    labels: LabelRules = LabelRules()
    validation: Validation = Validation()
    augmentation: Augmentation = Augmentation()
    optimizer: Optimizer = Optimizer()
    seed: int = 0
    licence: str = ""
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.phases:
            raise SpecError("a recipe needs at least one phase")
        for kind, names in (("phases", [each.name for each in self.phases]), ("data", [each.name for each in self.data])):
            if len(set(names)) != len(names):
                raise SpecError(f"{kind} have the names {', '.join(names)}; each must be unique")
        if self.data and self.validation.source and self.validation.source not in [each.name for each in self.data]:
            known = ", ".join(each.name for each in self.data)
            raise SpecError(f"validation.source is {self.validation.source!r}; sources: {known}")
        if sum(each.share or 0 for each in self.data) > 1 + 1e-9:
            raise SpecError(f"the shares of the data sources sum to {sum(each.share or 0 for each in self.data):g}; allowed: up to 1")
