"""Translation methods behind one interface: `base`, one file per method, `nets/`.

May import `xbench.datasets` and `xbench.core`. `registry` imports no torch; diffusers, accelerate
and scikit-image are imported only in the functions that use them.
"""
