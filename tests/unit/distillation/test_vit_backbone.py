"""Pretrained ViTs as first weights: compared with transformers' own networks, without the tokens that a ViTPose lacks."""

from pathlib import Path

import pytest
import torch
from checkpoints import random_model
from safetensors.torch import save_file

from edgepose.distillation.initialization import initialize
from edgepose.distillation.recipe import Initialization
from edgepose.errors import CheckpointError
from edgepose.models.vitpose import ViT, VitPoseConfig

TINY = VitPoseConfig(dim=24, depth=2, heads=3, head="simple", keypoints=17, height=64, width=48)
SQUARE = VitPoseConfig(dim=24, depth=2, heads=3, head="simple", keypoints=17, height=64, width=64)


def take(path: Path, config: VitPoseConfig = TINY) -> ViT:
    return initialize(config, Initialization(kind="vit", path=str(path)), seed=0).backbone.eval()


def vit_state(prefix: str = "", norm: str = "norm") -> dict[str, torch.Tensor]:
    """The backbone of a random model under the names of a masked autoencoder or of timm, with a class token's position."""
    model = random_model(dim=24, depth=2, heads=3, head="simple", height=64, width=64)
    state = {}
    for name, tensor in model.backbone.state_dict().items():
        renamed = name.replace("patch_embed.", "patch_embed.proj.")
        if name.startswith("norm."):
            renamed = f"{norm}.{name.split('.')[1]}"
        state[prefix + renamed] = tensor
    state[f"{prefix}pos_embed"] = torch.cat([torch.ones(1, 1, 24), state[f"{prefix}pos_embed"]], dim=1)
    return state | {f"{prefix}cls_token": torch.zeros(1, 1, 24), "head.weight": torch.zeros(5, 24)}


@pytest.mark.parametrize(("prefix", "norm"), [("", "norm"), ("module.", "norm"), ("", "fc_norm"), ("teacher.backbone.", "norm")])
def test_weights_of_a_vision_transformer(prefix: str, norm: str, tmp_path: Path) -> None:
    state = vit_state(prefix, norm)
    torch.save({"model": state}, tmp_path / "mae.pth")
    given = take(tmp_path / "mae.pth", SQUARE).state_dict()
    assert torch.equal(given["blocks.1.mlp.fc2.weight"], state[f"{prefix}blocks.1.mlp.fc2.weight"])
    assert torch.equal(given["norm.weight"], state[f"{prefix}{norm}.weight"])
    assert torch.equal(given["patch_embed.bias"], state[f"{prefix}patch_embed.proj.bias"])
    # The class token's slot goes with the token.
    assert torch.equal(given["pos_embed"], state[f"{prefix}pos_embed"][:, 1:])
    assert take(tmp_path / "mae.pth").state_dict()["pos_embed"].shape == (1, 12, 24)


def randomise(model: torch.nn.Module) -> torch.nn.Module:
    """Random everywhere, LayerScale and norms too: an exchange of two tensors shows."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.3 + (0.5 if tensor.ndim == 1 else 0.0))
    return model.eval()


KINDS = {
    "vit": ("ViTModel", "ViTConfig"),
    "deit": ("DeiTModel", "DeiTConfig"),
    "mae": ("ViTMAEModel", "ViTMAEConfig"),
    "dinov2": ("Dinov2Model", "Dinov2Config"),
    "dinov2 with registers": ("Dinov2WithRegistersModel", "Dinov2WithRegistersConfig"),
    "classifier": ("ViTForImageClassification", "ViTConfig"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_backbone_computes_what_transformers_computes(kind: str, tmp_path: Path) -> None:
    import transformers

    model_class, config_class = (getattr(transformers, name) for name in KINDS[kind])
    # A masked autoencoder hides a part of the picture unless told otherwise.
    hidden = {"mask_ratio": 0.0} if kind == "mae" else {}
    config = config_class(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=96,
        image_size=64,
        patch_size=16,
        layer_norm_eps=1e-6,
        **hidden,
    )
    theirs = randomise(model_class(config))
    theirs.save_pretrained(tmp_path)
    ours = take(tmp_path / "model.safetensors", SQUARE)
    picture = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.allclose(ours(picture).flatten(2).transpose(1, 2), run_patches_alone(theirs, picture), atol=2e-5)


def run_patches_alone(model: torch.nn.Module, picture: torch.Tensor) -> torch.Tensor:
    """What the network makes of the picture's tokens when no other is there."""
    model = getattr(model, "vit", model)
    # ViTPose's patches begin two pixels outside of the picture.
    embedded = model.embeddings.patch_embeddings(torch.nn.functional.pad(picture, (2, -2, 2, -2)))
    tokens = embedded + model.embeddings.position_embeddings[:, -16:]
    for block in model.encoder.layer if hasattr(model, "encoder") else model.layers:
        given = block(tokens)
        tokens = given[0] if isinstance(given, tuple) else given
    return model.layernorm(tokens)


def test_older_names_of_transformers(tmp_path: Path) -> None:
    """Files on the hub keep the names of transformers 4."""
    state = vit_state()
    renamed = {"vit.embeddings.cls_token": state["cls_token"], "vit.embeddings.position_embeddings": state["pos_embed"]}
    for leaf in ("weight", "bias"):
        renamed[f"vit.embeddings.patch_embeddings.projection.{leaf}"] = state[f"patch_embed.proj.{leaf}"]
        renamed[f"vit.layernorm.{leaf}"] = state[f"norm.{leaf}"]
        for block in (0, 1):
            for part, values in zip(("query", "key", "value"), state[f"blocks.{block}.attn.qkv.{leaf}"].chunk(3), strict=True):
                renamed[f"vit.encoder.layer.{block}.attention.attention.{part}.{leaf}"] = values.clone()
            for theirs, ours in {
                "attention.output.dense": "attn.proj",
                "layernorm_before": "norm1",
                "layernorm_after": "norm2",
                "intermediate.dense": "mlp.fc1",
                "output.dense": "mlp.fc2",
            }.items():
                renamed[f"vit.encoder.layer.{block}.{theirs}.{leaf}"] = state[f"blocks.{block}.{ours}.{leaf}"]
    save_file(renamed, tmp_path / "old.safetensors")
    torch.save(state, tmp_path / "timm.pth")
    old, timm = (take(tmp_path / name, SQUARE).state_dict() for name in ("old.safetensors", "timm.pth"))
    assert all(torch.equal(old[name], timm[name]) for name in timm)


def test_dinov2_in_groups_with_registers_and_patches_of_14(tmp_path: Path) -> None:
    state = vit_state()
    grouped = {name.replace("blocks.1.", "blocks.1.1.").replace("blocks.0.", "blocks.0.0."): tensor for name, tensor in state.items()}
    scale = torch.linspace(0.5, 2.0, 24)
    kernel = torch.randn(24, 3, 14, 14, generator=torch.Generator().manual_seed(2))
    grouped |= {
        "register_tokens": torch.zeros(1, 4, 24),
        "mask_token": torch.zeros(1, 24),
        "blocks.0.0.ls1.gamma": scale,
        "blocks.1.1.ls2.gamma": scale,
        "patch_embed.proj.weight": kernel,
    }
    torch.save(grouped, tmp_path / "dinov2.pth")
    given = take(tmp_path / "dinov2.pth").state_dict()
    assert torch.allclose(given["blocks.0.attn.proj.weight"], state["blocks.0.attn.proj.weight"] * scale[:, None])
    assert torch.allclose(given["blocks.1.mlp.fc2.bias"], state["blocks.1.mlp.fc2.bias"] * scale)
    assert torch.equal(given["blocks.1.attn.proj.weight"], state["blocks.1.attn.proj.weight"])
    assert given["patch_embed.weight"].shape == (24, 3, 16, 16)
    # A flat picture looks the same through either kernel.
    assert torch.allclose(given["patch_embed.weight"].sum((2, 3)), kernel.sum((2, 3)), atol=0.05 * float(kernel.sum((2, 3)).abs().max()))


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "vit.pth"
    state = vit_state()
    for changed, message in (
        ({name: tensor for name, tensor in state.items() if "blocks.1" not in name}, "lacks blocks.1"),
        (state | {"blocks.0.mlp.fc1.weight": torch.zeros(3, 3)}, r"blocks.0.mlp.fc1.weight' has the shape \(3, 3\)"),
        (state | {"blocks.2.norm1.weight": torch.zeros(24)}, "has 3 blocks; the student has 2"),
        (state | {"blocks.0.mlp.w12.weight": torch.zeros(3, 3)}, "gated MLP"),
        (state | {"pos_embed": torch.zeros(1, 14, 24)}, "14 positions"),
        ({"weights": torch.zeros(3)}, "not the ViT of"),
    ):
        torch.save(changed, path)
        with pytest.raises(CheckpointError, match=message):
            take(path)
