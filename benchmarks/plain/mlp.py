"""The MLP of transformer blocks."""

from torch import Tensor, nn


class MLP(nn.Module):
    """Two linear layers with an activation between, by default a GELU."""

    def __init__(self, dim: int, hidden: int, activation: type[nn.Module] = nn.GELU) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = activation()
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens `(B, N, C)` to the same shape."""
        x = self.fc1(x)
        x = self.act(x)
        return self.fc2(x)
