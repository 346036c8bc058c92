"""ResNet34, written by hand and to be read from top to bottom.

The network is a stem, four stages of residual blocks and a head. For an input of H × W pixels:

    stem      7 × 7 convolution, max pooling      (B,  64, H/4,  W/4)
    layer1    3 blocks                            (B,  64, H/4,  W/4)
    layer2    4 blocks, the first halves the size (B, 128, H/8,  W/8)
    layer3    6 blocks, the first halves the size (B, 256, H/16, W/16)
    layer4    3 blocks, the first halves the size (B, 512, H/32, W/32)
    head      global average, linear layer        (B, K)

1 + 2 · (3 + 4 + 6 + 3) + 1 = 34 layers with weights give it its name.

Modules are named as in torchvision, so weights trained there can be loaded here unchanged.

Source:
    He, Zhang, Ren & Sun, Deep Residual Learning for Image Recognition, CVPR 2016 (here: "He 2016").
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: Residual blocks in layer1 … layer4 (He 2016, table 1, column "34-layer").
BLOCKS = (3, 4, 6, 3)
#: Channels in layer1 … layer4: doubled whenever the area is quartered, so every block costs about the same.
CHANNELS = (64, 128, 256, 512)


def conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """A 3 × 3 convolution which keeps the size at stride 1 and halves it at stride 2.

    It has no bias: a batch norm follows, which subtracts the mean and with it any constant.
    """
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=False)


class BasicBlock(nn.Module):
    """Two 3 × 3 convolutions with a shortcut around them.

    The block computes y = ReLU(F(x) + shortcut(x)). The convolutions F only have to learn what is to
    be *added* to x, the residual; F = 0 already gives the identity, so a deeper network is not
    harder to fit than a shallow one, and the sum carries gradients past F undiminished.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: of the first convolution; 2 halves height and width.

    Source:
        He 2016, section 3.2: eq. 1 (identity shortcut), eq. 2 (projection shortcut); figure 5, left.

    Example:
        >>> BasicBlock(64, 128, stride=2)(torch.zeros(1, 64, 16, 16)).shape
        torch.Size([1, 128, 8, 8])
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        # F(x) = BN(W₂ ∗ ReLU(BN(W₁ ∗ x))), the residual of He 2016, eq. 1.
        self.conv1 = conv3x3(in_channels, out_channels, stride)
        self.bn1 = nn.BatchNorm2d(out_channels)
        # One ReLU serves twice, since it has no weights. In place: no gradient needs its input.
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = conv3x3(out_channels, out_channels)
        self.bn2 = nn.BatchNorm2d(out_channels)
        # F(x) and x can only be added if their shapes agree. Where they do not, x is projected by a
        # 1 × 1 convolution W_s (He 2016, eq. 2); everywhere else it passes as it is: "option B".
        self.downsample: nn.Sequential | None = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, h, w) to (B, out_channels, h / stride, w / stride), ≥ 0."""
        residual: Tensor = self.relu(self.bn1(self.conv1(x)))  # (B, out, h/s, w/s)
        residual = self.bn2(self.conv2(residual))  # (B, out, h/s, w/s): no ReLU, it may also subtract
        shortcut: Tensor = x if self.downsample is None else self.downsample(x)  # (B, out, h/s, w/s)
        output: Tensor = self.relu(residual + shortcut)  # y = ReLU(F(x) + shortcut(x))
        return output


class ResNet34(nn.Module):
    """ResNet34 for RGB images of at least 32 × 32 px.

    Args:
        num_classes: K, outputs of the last layer.
        zero_init_residual: start with F = 0 in every block; see `zero_residual_gains`.

    Source:
        He 2016, table 1, column "34-layer".

    Example:
        >>> sum(parameter.numel() for parameter in ResNet34(num_classes=1000).parameters())
        21797672
    """

    def __init__(self, num_classes: int = 1000, *, zero_init_residual: bool = False) -> None:
        super().__init__()
        # Stem: one large-stride convolution and a max pooling, so that the costly stages work on 1/16 of the area.
        self.conv1 = nn.Conv2d(3, 64, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        # The stem has already halved the size twice, so layer1 keeps it.
        self.layer1 = self._stage(64, CHANNELS[0], BLOCKS[0], stride=1)
        self.layer2 = self._stage(CHANNELS[0], CHANNELS[1], BLOCKS[1], stride=2)
        self.layer3 = self._stage(CHANNELS[1], CHANNELS[2], BLOCKS[2], stride=2)
        self.layer4 = self._stage(CHANNELS[2], CHANNELS[3], BLOCKS[3], stride=2)
        # Head: the average over all positions makes it independent of the image's size.
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(CHANNELS[3], num_classes)
        initialise(self)
        if zero_init_residual:
            zero_residual_gains(self)

    @staticmethod
    def _stage(in_channels: int, out_channels: int, blocks: int, stride: int) -> nn.Sequential:
        """`blocks` residual blocks; only the first changes channels and size."""
        first = BasicBlock(in_channels, out_channels, stride)
        return nn.Sequential(first, *(BasicBlock(out_channels, out_channels) for _ in range(blocks - 1)))

    def forward_features(self, x: Tensor) -> Tensor:
        """What the network sees where.

        Args:
            x: float (B, 3, H, W), normalised RGB.

        Returns:
            (B, 512, H/32, W/32), rounded up; ≥ 0.
        """
        x = self.relu(self.bn1(self.conv1(x)))  # (B, 64, H/2, W/2)
        x = self.maxpool(x)  # (B, 64, H/4, W/4)
        x = self.layer1(x)  # (B, 64, H/4, W/4)
        x = self.layer2(x)  # (B, 128, H/8, W/8)
        x = self.layer3(x)  # (B, 256, H/16, W/16)
        x = self.layer4(x)  # (B, 512, H/32, W/32)
        return x

    def forward_head(self, features: Tensor) -> Tensor:
        """Logits from features.

        Args:
            features: (B, 512, h, w), from `forward_features`.

        Returns:
            (B, K), unbounded; softmax makes them probabilities.
        """
        pooled: Tensor = self.avgpool(features)  # (B, 512, 1, 1)
        logits: Tensor = self.fc(pooled.flatten(1))  # (B, 512) -> (B, K)
        return logits

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) normalised RGB to logits (B, K)."""
        return self.forward_head(self.forward_features(x))


def initialise(model: nn.Module) -> None:
    """Draw the convolutions anew and set batch norms to the identity, in place, from torch's global generator.

    A ReLU halves the signal's second moment. Weights with Var(w) = 2 / fan_out, where
    fan_out = K · K · C_out, make up for it, so gradients neither vanish nor explode with depth.
    Linear layers keep torch's initialisation.

    Source:
        He, Zhang, Ren & Sun, Delving Deep into Rectifiers, ICCV 2015, eq. 14 (backward case);
        gain 1 and shift 0: Ioffe & Szegedy, Batch Normalization, ICML 2015.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)


def zero_residual_gains(model: nn.Module) -> None:
    """Set the gain of the last batch norm of every residual block to 0, in place.

    Then F(x) = 0 and every block starts as its shortcut, which eases the first steps of training.
    Works on any ResNet of basic blocks with the usual names (`….bn2.weight`).

    Raises:
        ValueError: `model` has no such block.

    Source:
        Goyal et al., Accurate, Large Minibatch SGD, 2017, section 5.1 ("γ = 0").
    """
    gains = [parameter for name, parameter in model.named_parameters() if name.endswith(".bn2.weight")]
    if not gains:
        raise ValueError(f"zero_init_residual: {type(model).__name__} has no residual blocks (….bn2.weight)")
    with torch.no_grad():
        for gain in gains:
            gain.zero_()
