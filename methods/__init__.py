"""Translation methods behind one interface."""
