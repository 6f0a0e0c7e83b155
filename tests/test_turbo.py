"""CycleGAN-Turbo on a small SD-Turbo with random weights, laid out and read as the real one."""

import json
import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from xbench.core.errors import UserError
from xbench.methods.nets.turbo import SIGNAL, SKIP, Adapter, SkipVae, TurboNet
from xbench.methods.pretrained import SD_TURBO, unet, vae

stand_ins = runpy.run_path(str(Path(__file__).with_name("stand_ins.py")))
Xbench = Callable[..., Any]
PAIR = "synthetic_low:real_normal"
TOKENS = 77
WIDTH = 32


def small_unet() -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        block_out_channels=(8, 8),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=4,
        layers_per_block=1,
    )


def small_vae() -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(4, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        norm_num_groups=4,
        layers_per_block=1,
    )


def write_text_encoder(folder: Path) -> None:
    """A text encoder of one layer, and a tokenizer that knows the letters alone."""
    from transformers import CLIPTextConfig, CLIPTextModel

    letters = [chr(code) for code in range(33, 127)]
    words = [*letters, *(letter + "</w>" for letter in letters)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "tokenizer").mkdir()
    vocabulary = {word: place for place, word in enumerate(words)}
    (folder / "tokenizer" / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "tokenizer" / "merges.txt").write_text("#version: 0.2\n")
    (folder / "tokenizer" / "tokenizer_config.json").write_text("{}")
    (folder / "tokenizer" / "special_tokens_map.json").write_text('{"pad_token": "!"}')
    config = CLIPTextConfig(
        vocab_size=len(words), hidden_size=WIDTH, intermediate_size=WIDTH, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=TOKENS,
        bos_token_id=len(words) - 2, eos_token_id=len(words) - 1, pad_token_id=0,
    )  # fmt: skip
    CLIPTextModel(config).save_pretrained(folder / "text_encoder")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small SD-Turbo."""
    folder = tmp_path_factory.mktemp("hub") / "sd-turbo"
    folder.mkdir()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        small_unet().save_pretrained(folder / "unet")
        small_vae().save_pretrained(folder / "vae")
        write_text_encoder(folder)
    return folder


@pytest.fixture
def placed(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache in which the model was placed by hand."""
    monkeypatch.setenv("XBENCH_HOME", str(tmp_path / "home"))
    folder = tmp_path / "home" / "weights" / "sd-turbo"
    folder.parent.mkdir(parents=True)
    folder.symlink_to(model)
    return folder


def net() -> TurboNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return TurboNet(small_unet(), small_vae(), rank=4, vae_rank=2).eval()


def test_the_official_network_has_the_official_number_of_trained_weights() -> None:
    with torch.device("meta"):
        official = TurboNet(unet(SD_TURBO), vae(), rank=128, vae_rank=4)
    trained = {n: w.numel() for n, w in official.named_parameters() if w.requires_grad}
    assert sum(trained.values()) == 132_564_112
    skips = [n for n, _ in trained.items() if ".skips." in n and n.endswith(".layer.weight")]
    assert sum(trained[n] for n in skips) == 2 * 491_520
    assert sum(count for n, count in trained.items() if n.startswith("unet.conv_in")) == (
        11_840 + 128 * (4 * 9 + 320)
    )
    assert round(SIGNAL, 6) == 0.00466


def test_fresh_adapters_change_nothing() -> None:
    """Then the network is one step of diffusers' own scheduler between diffusers' own halves."""
    from diffusers import DDPMScheduler

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        denoiser, autoencoder = small_unet().eval(), small_vae().eval()
        ours = TurboNet(denoiser, autoencoder, rank=4, vae_rank=2).eval()
        ours.captions.normal_()
        images = torch.rand(2, 1, 32, 32) * 2 - 1
    scheduler = DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
        timestep_spacing="trailing",
    )  # fmt: skip
    scheduler.set_timesteps(1)
    assert scheduler.timesteps.tolist() == [999]
    with torch.no_grad():
        latents = autoencoder.encode(images.expand(-1, 3, -1, -1)).latent_dist.mean
        latents = latents * autoencoder.config.scaling_factor
        noise = denoiser(latents, 999, ours.captions[1].expand(2, -1, -1)).sample
        clean = scheduler.step(noise, 999, latents).pred_original_sample
        wanted = autoencoder.decode(clean / autoencoder.config.scaling_factor).sample
        result = ours(images, backward=True, gamma=0.0)
        skipped = ours(images, backward=True)
    torch.testing.assert_close(result, wanted.clamp(-1, 1).mean(1, keepdim=True))
    assert 0 < (skipped - result).abs().max() < 1e3 * SKIP


@pytest.mark.parametrize("layer", [nn.Conv2d(3, 5, 3, stride=2, padding=1), nn.Linear(6, 5)])
def test_an_adapter_adds_a_change_of_low_rank_to_the_weight(layer: Any) -> None:
    adapter = Adapter(layer, rank=2, scale=3.0)
    x = torch.randn((4, 3, 8, 8) if isinstance(layer, nn.Conv2d) else (4, 6))
    assert torch.equal(adapter(x), layer(x))
    nn.init.normal_(adapter.up.get_parameter("weight"))
    result = adapter(x)
    up, down = (net.get_parameter("weight") for net in (adapter.up, adapter.down))
    change = up.flatten(1) @ down.flatten(1)
    with torch.no_grad():
        layer.weight += 3 * change.view_as(layer.weight)
    torch.testing.assert_close(result, layer(x))


def test_the_skips_join_what_has_the_same_size() -> None:
    coder = SkipVae(small_vae(), rank=2)
    latents, seen = coder.encode(torch.zeros(1, 3, 40, 48))
    assert latents.shape == (1, 4, 5, 6)
    assert [tuple(x.shape[1:]) for x in seen] == [(4, 40, 48), (4, 20, 24), (8, 10, 12), (8, 5, 6)]
    assert coder.decode(latents, seen, 1.0).shape == (1, 3, 40, 48)


def test_odd_sizes_come_back_and_directions_differ() -> None:
    ours = net()
    with torch.no_grad():
        ours.captions[1].fill_(1)
        images = torch.rand(2, 1, 36, 41) * 2 - 1
        forth, back = ours(images), ours(images, backward=True)
    assert forth.shape == back.shape == images.shape
    assert not torch.equal(forth, back)


def test_copies_share_what_is_frozen_and_store_what_is_trained() -> None:
    denoiser, autoencoder = small_unet(), small_vae()
    one, two = (TurboNet(denoiser, autoencoder, rank=4, vae_rank=2) for _ in range(2))
    frozen = {id(w) for n, w in one.named_parameters() if n not in one.own}
    assert frozen == {id(w) for n, w in two.named_parameters() if n not in two.own}
    with torch.no_grad():
        for weight in one.parameters():
            if weight.requires_grad:
                weight.add_(0.01 * torch.randn_like(weight))
        images = torch.rand(1, 1, 32, 32)
        assert not torch.equal(one(images), two(images))
        two.load_state_dict(one.state_dict())
        assert torch.equal(one(images), two(images))
    assert set(one.state_dict()) == one.own
    with pytest.raises(RuntimeError, match="Missing key"):
        one.load_state_dict({})


def test_it_trains_translates_both_ways_and_repeats(
    xbench: Xbench, placed: Path, tmp_path: Path
) -> None:
    command = (
        *("run", "--method", "cyclegan-turbo", "--profile", "smoke"),
        *("--pairs", f"{PAIR},{':'.join(reversed(PAIR.split(':')))}"),
        *("--set", "cyclegan-turbo.cycle_lpips=0", "--set", "cyclegan-turbo.same_lpips=0"),
        *("--set", "budget.images=3", "--set", "data.train_heads=2", "--set", "data.test_heads=2"),
        *("--set", "data.val_heads=1", "--set", "data.paired_heads=1"),
    )
    hashes = []
    for out in ("one", "two"):
        result = xbench(*command, "--out", out)
        assert result.code == 0, result.err
        found = {path: json.loads(path.read_text()) for path in Path(out).rglob("seed0/*.json")}
        records = [r for r in found.values() if r["method"]["name"] == "cyclegan-turbo"]
        assert len(records) == 2
        assert all(
            r["metrics"]["ltd"]["value"] > 0 and r["method"]["train_images"] == 3 for r in records
        )
        hashes.append([r["method"]["weights_sha256"] for r in records])
        (weights,) = Path(out).rglob("weights.safetensors")
        assert weights.stat().st_size < 2e6  # the adapters, not the model
    assert hashes[0] == hashes[1]


def test_its_losses_compare_with_lpips(
    xbench: Xbench, placed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_ins["place_lpips"](monkeypatch)
    command = ("run", "--method", "cyclegan-turbo", "--profile", "smoke", "--pairs", PAIR)
    few = [f"--set=data.{split}_heads=1" for split in ("train", "val", "test", "paired")]
    result = xbench(*command, "--set", "budget.images=1", *few)
    assert result.code == 0, result.err
    (file,) = Path("runs").rglob("training.json")
    curve = {name: values[-1] for name, values in json.loads(file.read_text())["curve"].items()}
    flat, perceptual = (curve[f"cycle{ending}"] for ending in ("", "_lpips"))
    assert perceptual > flat > 0
    assert {"gan", "identity", "identity_lpips", "critic_fake", "critic_back_real"} <= set(curve)


FEW = ("--profile", "smoke", "--pairs", PAIR, "--dry-run")


def test_the_whole_model_must_be_there(xbench: Xbench, placed: Path, model: Path) -> None:
    placed.unlink()
    shutil.copytree(model, placed)
    (placed / "tokenizer" / "merges.txt").unlink()
    result = xbench("run", "--method", "cyclegan-turbo", *FEW)
    assert result.code == 2
    wrong, expected, fix = result.err.strip().splitlines()
    assert "sd-turbo/tokenizer/merges.txt is missing" in wrong
    assert "as on the hub" in expected
    assert str(placed) in fix


def test_lpips_must_be_there_unless_its_losses_are_off(xbench: Xbench, placed: Path) -> None:
    result = xbench("run", "--method", "cyclegan-turbo", *FEW)
    assert result.code == 2
    wrong, _, fix = result.err.strip().splitlines()
    assert "lpips" in wrong
    assert "xbench fetch lpips" in fix
    off = [f"--set=cyclegan-turbo.{name}_lpips=0" for name in ("cycle", "same")]
    assert xbench("run", "--method", "cyclegan-turbo", *FEW, *off).code == 0


def test_damaged_files_and_a_missing_library_are_named(
    placed: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed.unlink()
    shutil.copytree(model, placed)
    (placed / "vae" / "diffusion_pytorch_model.safetensors").write_bytes(b"no weights")
    with pytest.raises(UserError, match=r"(?s)sd-turbo/vae .*cannot be read.*hf download"):
        SD_TURBO.networks()
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"(?s)transformers is not installed.*\[turbo\]"):
        SD_TURBO.encode(["an X-ray image"])


def test_captions_tell_the_directions_apart(placed: Path) -> None:
    one, two, again = SD_TURBO.encode(["a radiograph", "a picture", "a radiograph"])
    assert one.shape == (TOKENS, WIDTH)
    assert torch.equal(one, again)
    assert not torch.equal(one, two)
