"""What a bank of fixed filters says of style and content, for methods without pretrained networks.

Four levels of a Gaussian pyramid take the place of VGG's layers. At each level an image is seen by
20 filters: itself, two derivatives, a Laplacian, and Gabor filters of two widths, four directions
and two phases. The losses are those of Hierarchy Flow (arXiv 2308.06909).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

#: Levels of the pyramid.
LEVELS = 4
#: Pixels from the middle of a filter to its edge.
REACH = 5


class FilterBank(nn.Module):
    """Responses of fixed filters, standardised by those of given images.

    Args:
        images: `[n, 1, H, W]`, sides of at least 33, as training has them.
    """

    kernels: Tensor
    blur: Tensor
    means: Tensor
    deviations: Tensor

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.register_buffer("kernels", make_kernels())
        line = torch.tensor([1.0, 4, 6, 4, 1]) / 16
        self.register_buffer("blur", torch.outer(line, line)[None, None])
        raw = self.to(images.device).responses(images)
        spread = [torch.var_mean(level, dim=(0, 2, 3), keepdim=True) for level in raw]
        self.register_buffer("means", torch.stack([mean for _, mean in spread]))
        self.register_buffer(
            "deviations", torch.stack([var.sqrt().clamp_min(1e-4) for var, _ in spread])
        )

    def responses(self, images: Tensor) -> list[Tensor]:
        """Responses `[B, 20, h, w]` at every level, the finest first, in float32."""
        levels = []
        with torch.autocast(images.device.type, enabled=False):
            x = images.float()
            for level in range(LEVELS):
                if level:
                    x = functional.conv2d(reflected(x, 2), self.blur, stride=2)
                levels.append(functional.conv2d(reflected(x, REACH), self.kernels))
        return levels

    def forward(self, images: Tensor) -> list[Tensor]:
        """Standardised responses `[B, 20, h, w]` at every level to images `[B, 1, H, W]`."""
        raw = zip(self.responses(images), self.means, self.deviations, strict=True)
        return [(level - mean) / deviation for level, mean, deviation in raw]


def reflected(x: Tensor, reach: int) -> Tensor:
    """`[B, 1, H, W]` with a border, reflected as far as the image goes and repeated from there."""
    near = min(reach, min(x.shape[-2:]) - 1)
    x = functional.pad(x, (near,) * 4, mode="reflect")
    return functional.pad(x, (reach - near,) * 4, mode="replicate")


def make_kernels() -> Tensor:
    """The filters `[20, 1, 11, 11]`, all but the first of mean 0; absolute values add up to 1."""
    axis = torch.arange(-REACH, REACH + 1.0)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    square = x**2 + y**2
    point = (square == 0).float()
    right, down = ((a == 1).float() - (a == -1).float() for a in (x, y))
    kernels = [point, right * (y == 0), down * (x == 0), (square - 2) * torch.exp(-square / 2)]
    for width in (1.0, 2.0):
        window = torch.exp(-square / (2 * width**2))
        for quarter in range(4):
            angle = quarter * math.pi / 4
            phase = (math.cos(angle) * x + math.sin(angle) * y) * 2 / width
            even = window * phase.cos()
            kernels += [even - window * even.sum() / window.sum(), window * phase.sin()]
    stacked = torch.stack(kernels)
    stacked[3] -= stacked[3].mean()
    return (stacked / stacked.abs().sum(dim=(1, 2), keepdim=True))[:, None]


def content_loss(responses: list[Tensor], wanted: list[Tensor], level: int) -> Tensor:
    """Mean squared difference of instance-normalised responses at one level, the first is 1."""
    one, other = (functional.instance_norm(levels[level - 1]) for levels in (responses, wanted))
    return functional.mse_loss(one, other)


def style_loss(responses: list[Tensor], wanted: list[Tensor], leave_out: float) -> Tensor:
    """Squared differences of the channels' means and deviations, added up over the levels.

    A channel is one sign of a filter's response. The share `leave_out` of the channels of an image
    whose means differ most counts nothing, since content differs too.
    """
    levels = zip(responses, wanted, strict=True)
    return torch.stack([aligned(both_signs(a), both_signs(b), leave_out) for a, b in levels]).sum()


def aligned(ours: Tensor, theirs: Tensor, leave_out: float) -> Tensor:
    """The style loss of one level, from channels `[B, C, h, w]`: a mean over all of them."""
    (our_var, our_mean), (their_var, their_mean) = (
        torch.var_mean(channels, dim=(2, 3)) for channels in (ours, theirs)
    )
    means = (our_mean - their_mean).square()
    deviations = ((our_var + 1e-5).sqrt() - (their_var + 1e-5).sqrt()).square()
    kept = means.shape[1] - int(leave_out * means.shape[1])
    nearest = means.argsort(dim=1)[:, :kept]
    chosen = means.gather(1, nearest) + deviations.gather(1, nearest)
    return chosen.sum() / means.numel()


def both_signs(responses: Tensor) -> Tensor:
    """Responses `[B, C, h, w]` to what is above and what is below 0, `[B, 2 C, h, w]`."""
    return torch.cat([responses.relu(), (-responses).relu()], dim=1)
