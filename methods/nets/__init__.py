"""Networks that several methods share; a network that one method uses may lie here too.

May import torch and each other, and diffusers inside functions; nothing else of xbench.
"""
