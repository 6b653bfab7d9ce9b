"""Each attention against a plain transcription of its formula, token by token, and what batches do to it."""

import math

import pytest
import torch

from catseg.modeling.training_free.attention import ATTENTIONS, gaussian_prior, proxy_attention

GRID = (2, 3)
TOKENS = 7


@pytest.fixture
def heads() -> tuple[torch.Tensor, torch.Tensor]:
    """Queries and keys of two images, three heads, seven tokens of width four."""
    q, k = torch.randn(2, 2, 3, TOKENS, 4)
    return q, k


def plain_prior(std: float) -> torch.Tensor:
    prior = torch.zeros(TOKENS, TOKENS)
    for i in range(6):
        for j in range(6):
            square = (i // 3 - j // 3) ** 2 + (i % 3 - j % 3) ** 2
            prior[1 + i, 1 + j] = math.exp(-square / (2 * std**2))
    return prior


def plain_weights(method: str, q: torch.Tensor, k: torch.Tensor, prior: torch.Tensor) -> torch.Tensor:
    """Weights of one image."""
    scale = q.shape[-1] ** -0.5

    def softmax(a: torch.Tensor, b: torch.Tensor, added: float | torch.Tensor = 0.0) -> torch.Tensor:
        return torch.stack([(scale * x @ y.T + added).softmax(dim=-1) for x, y in zip(a, b, strict=True)])

    if method == "nonly":
        lengths = [x.norm() * y.norm() for head in range(3) for x in q[head] for y in k[head]]
        return (prior * scale * torch.stack(lengths).mean()).softmax(dim=-1).expand(3, -1, -1)
    return {
        "vanilla": lambda: softmax(q, k),
        "sclip": lambda: softmax(q, q) + softmax(k, k),
        "clearclip": lambda: softmax(q, q),
        "kk": lambda: softmax(k, k),
        "naclip": lambda: softmax(k, k, prior),
    }[method]()


@pytest.mark.parametrize("method", ATTENTIONS)
def test_weights_are_those_of_the_formula(method: str, heads: tuple[torch.Tensor, torch.Tensor]) -> None:
    q, k = heads
    prior = gaussian_prior(GRID, 1.5, like=q)
    torch.testing.assert_close(prior, plain_prior(1.5))
    found = ATTENTIONS[method](q, k, prior)
    for image in range(2):
        torch.testing.assert_close(found[image], plain_weights(method, q[image], k[image], prior))


def plain_proxy(features: torch.Tensor, beta: float, gamma: float) -> torch.Tensor:
    """Weights of one image, `(C, P, Q)`."""
    tokens = features.flatten(1).T
    count = len(tokens)
    similarity = torch.tensor([[float(torch.cosine_similarity(a, b, dim=0)) for b in tokens] for a in tokens])
    mean = similarity.sum() / count**2
    weights = torch.zeros(count, count)
    for i in range(count):
        kept = [j for j in range(count) if similarity[i, j] >= beta * mean]
        values = [math.exp(gamma * (similarity[i, j] - beta * mean)) for j in kept]
        for j, value in zip(kept, values, strict=True):
            weights[i, j] = value / sum(values)
    return weights


def test_proxies_of_several_images_have_means_of_their_own() -> None:
    features = torch.randn(2, 5, 2, 4)
    features[1] += 1.0  # all more alike
    found = proxy_attention(features, beta=1.2, gamma=3.0)
    assert (found == 0).any()
    for image in range(2):
        torch.testing.assert_close(found[image], plain_proxy(features[image], 1.2, 3.0), rtol=1e-4, atol=1e-6)


def test_where_everything_is_alike_each_place_looks_at_itself() -> None:
    found = proxy_attention(torch.ones(1, 3, 2, 2), beta=1.2, gamma=3.0)
    torch.testing.assert_close(found, torch.eye(4)[None])
