"""What the VAE of a Wan checkpoint keeps from one latent to the next, told from its configuration, without torch.

`probes.py` draws values of these shapes. They are as `AutoencoderKLWan` is built.
"""

from __future__ import annotations

from engines.families.wan.architecture import Parts


def decoder_caches(architecture: Parts) -> list[tuple[int, int]]:
    """What the decoder keeps for the next latent, convolution by convolution: channels, and how many times larger than
    a latent. Each holds two frames."""
    vae = architecture.checkpoint.component("vae").config
    residual = bool(vae.get("is_residual", False))
    factors = [int(factor) for factor in vae.get("dim_mult", [1, 2, 4, 4])]
    base = int(vae.get("decoder_base_dim") or vae.get("base_dim", 96))
    widths = [base * factor for factor in (factors[-1], *reversed(factors))]
    found = [(architecture.latent_channels, 1), *[(widths[0], 1)] * 4]
    scale = 1
    for number, doubles in enumerate([*reversed(vae.get("temperal_downsample", [False, True, True])), None]):
        entering, width = widths[number], widths[number + 1]
        first = entering if residual or number == 0 else entering // 2
        blocks = int(vae.get("num_res_blocks", 2)) + 1
        found += [(first, scale), (width, scale), *[(width, scale)] * (2 * blocks - 2)]
        if doubles:
            found.append((width, scale))
        if doubles is not None:
            scale *= 2
    return [*found, (widths[-1], scale)]


def encoder_caches(architecture: Parts) -> list[tuple[int, int, int]]:
    """The same of the encoder, between the frames of one latent and the next: channels, how many times larger than a
    latent, and frames: a temporal downsampler looks back upon one."""
    vae = architecture.checkpoint.component("vae").config
    factors = [int(factor) for factor in vae.get("dim_mult", [1, 2, 4, 4])]
    base, blocks = int(vae.get("base_dim", 96)), int(vae.get("num_res_blocks", 2))
    widths = [base, *(base * factor for factor in factors)]
    scale = 2 ** (len(factors) - 1)
    found = [(int(vae.get("in_channels", 3)), scale, 2)]
    for number, halves in enumerate([*vae.get("temperal_downsample", [False, True, True]), None]):
        entering, width = widths[number], widths[number + 1]
        found += [(entering, scale, 2), *[(width, scale, 2)] * (2 * blocks - 1)]
        if halves is not None:
            scale //= 2
        if halves:
            found.append((width, scale, 1))
    return [*found, *[(widths[-1], scale, 2)] * 5]
