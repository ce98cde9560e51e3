import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=300, help="how often hosts and runners are killed, in all")
    parser.addoption("--seed", type=int, default=None, help="repeat the series of kills with this seed")
