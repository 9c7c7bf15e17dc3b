"""WebShop: a shop to search, compare and buy in, answering as the original does, without Java."""

from envs.webshop.env import WebShopEnv

__all__ = ["WebShopEnv"]
