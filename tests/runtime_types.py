"""How signatures are checked while tests run: shapes by jaxtyping, types by beartype."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int is a float, as for mypy
