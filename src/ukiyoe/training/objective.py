"""What a U-Net learns to answer, and how much each noise level counts.

Signal and sigma are sqrt(alpha_bar) and sqrt(1 - alpha_bar) at each picture's timestep; SNR is
alpha_bar / (1 - alpha_bar). The three prediction types are one another's linear functions.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Prediction = Literal["epsilon", "v_prediction", "sample"]
Weighting = Literal["min-snr", "min-snr+1", "none"]


def noised(
    x_0: Float[Tensor, " batch channels height width"],
    noise: Float[Tensor, " batch channels height width"],
    alpha_bar: Float[Tensor, " batch"],
) -> Float[Tensor, " batch channels height width"]:
    """x_t, drawn from q(x_t | x_0) in one step: DDPM, eq. 4."""
    signal, sigma = _levels(alpha_bar)
    return signal * x_0 + sigma * noise


def wanted(
    prediction: Prediction,
    x_0: Float[Tensor, " batch channels height width"],
    noise: Float[Tensor, " batch channels height width"],
    alpha_bar: Float[Tensor, " batch"],
) -> Float[Tensor, " batch channels height width"]:
    """What a perfect network of a prediction type would answer.

    Args:
        prediction: What the network predicts.
        x_0: Clean samples.
        noise: What they were mixed with.
        alpha_bar: Share of signal variance.

    Returns:
        The noise, v (Salimans & Ho 2022, eq. 10), or x_0.
    """
    if prediction == "epsilon":
        return noise
    if prediction == "sample":
        return x_0
    signal, sigma = _levels(alpha_bar)
    return signal * noise - sigma * x_0


def original_and_noise(
    prediction: Prediction,
    output: Float[Tensor, " batch channels height width"],
    x_t: Float[Tensor, " batch channels height width"],
    alpha_bar: Float[Tensor, " batch"],
) -> tuple[Tensor, Tensor]:
    """The x_0 and the noise that an answer implies.

    Args:
        prediction: What the network predicts.
        output: Its answer.
        x_t: What it saw.
        alpha_bar: Share of signal variance, above 0 and below 1.

    Returns:
        Estimates of x_0 and of the noise, consistent with `x_t`.
    """
    signal, sigma = _levels(alpha_bar)
    if prediction == "epsilon":
        return (x_t - sigma * output) / signal, output  # DDPM, eq. 15
    if prediction == "sample":
        return output, (x_t - signal * output) / sigma
    # Salimans & Ho 2022, appendix D: (x_t, v) is (x_0, noise) turned by an angle.
    return signal * x_t - sigma * output, sigma * x_t + signal * output


def min_snr_weight(
    prediction: Prediction,
    alpha_bar: Float[Tensor, " batch"],
    gamma: float = 5.0,
    weighting: Weighting = "min-snr",
) -> Float[Tensor, " batch"]:
    """Weight of the squared error of an answer at each noise level.

    Min-SNR weights the error of x_0 by min(SNR, gamma). An error of epsilon is one of x_0 times
    SNR, an error of v one of x_0 times SNR + 1, hence the divisions. With "min-snr+1" the error
    of x_0 counts min(SNR + 1, gamma), which is not 0 at pure noise, where compositions and colors
    are decided (see `base.loss_weight`); epsilon cannot carry that (its weight would be infinite
    there) and keeps the paper's.

    Args:
        prediction: What the network predicts.
        alpha_bar: Share of signal variance, 0 to below 1.
        gamma: Where the weight of x_0 stops growing.
        weighting: "min-snr", "min-snr+1", or "none" for 1 everywhere.

    Returns:
        One weight per picture.

    Source:
        Hang et al. 2023 (arXiv 2303.09556), section 3.4: w = min(SNR, gamma) for x_0,
        min(SNR, gamma) / SNR for epsilon, min(SNR, gamma) / (SNR + 1) for v.
    """
    if weighting == "none":
        return torch.ones_like(alpha_bar)
    snr = alpha_bar / (1 - alpha_bar)
    if prediction == "epsilon":
        return (gamma / snr).clamp(max=1)  # also where SNR is 0
    kept = (snr + 1 if weighting == "min-snr+1" else snr).clamp(max=gamma)
    return kept if prediction == "sample" else kept / (snr + 1)


def _levels(alpha_bar: Tensor) -> tuple[Tensor, Tensor]:
    level = alpha_bar[:, None, None, None]
    return level.sqrt(), (1 - level).sqrt()
