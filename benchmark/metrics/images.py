"""What every metric asks of the images it is given."""

from collections.abc import Iterator

from torch import Tensor


def check_images(images: Tensor, smallest: int, what: str) -> None:
    """Raise a ValueError unless images are [B, 1, H, W], large enough, finite and in [0, 1].

    Args:
        images: the batch.
        smallest: least height and width in pixels.
        what: the metric, for the message.
    """
    if images.ndim != 4 or images.shape[1] != 1 or images.shape[0] == 0:
        raise ValueError(f"{what}: expected images [B, 1, H, W], got {list(images.shape)}")
    height, width = images.shape[2:]
    if min(height, width) < smallest:
        raise ValueError(
            f"{what}: expected images of at least {smallest} x {smallest} px, "
            f"got {height} x {width}"
        )
    if not images.is_floating_point():
        raise ValueError(f"{what}: expected floating-point images, got {images.dtype}")
    low, high = images.aminmax()
    if not (low >= 0 and high <= 1):  # NaN fails every comparison
        raise ValueError(
            f"{what}: expected finite values in [0, 1], got {low.item():.6g} to {high.item():.6g}"
        )


def chunks(images: Tensor, smallest: int, what: str, pixels: int) -> Iterator[Tensor]:
    """Checked images, a few at a time, float64 [n, H, W] on the CPU.

    Args:
        images: see `check_images`, as for `smallest` and `what`.
        smallest: least height and width.
        what: the metric.
        pixels: of all images of a chunk together, at most, unless a single image has more.
    """
    check_images(images, smallest, what)
    step = max(1, pixels // (images.shape[2] * images.shape[3]))
    for part in images.detach()[:, 0].split(step):
        yield part.cpu().double()
