"""Public data sets, fetched and recognised: X-DigiSkull from its archives or from a copy."""
