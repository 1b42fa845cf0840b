"""Shard one model across devices with FSDP2, without a whole copy on any rank but the first."""

from recipes.sharding.answers import answers
from recipes.sharding.build import as_now, divide
from recipes.sharding.collect import whole_state
from recipes.sharding.network import shard_network
from recipes.sharding.strategy import Sharded, is_sharded

__all__ = ["Sharded", "answers", "as_now", "divide", "is_sharded", "shard_network", "whole_state"]
