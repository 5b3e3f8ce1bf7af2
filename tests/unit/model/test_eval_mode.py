import pytest
from torch import nn

from model.eval_mode import in_eval_mode


def test_a_network_is_in_its_own_mode_again_whatever_happens_meanwhile() -> None:
    network = nn.Sequential(nn.Dropout())
    for is_training in (True, False):
        network.train(is_training)
        with pytest.raises(RuntimeError), in_eval_mode(network):
            assert not network.training and not network[0].training
            raise RuntimeError
        assert network.training == network[0].training == is_training
