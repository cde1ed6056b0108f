"""Where a secret may come from: the settings themselves, a variable, a file."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from sessions.errors import ConfigError
from sessions.process.private import exposed_secret

log = logging.getLogger(__name__)


def read_secret(where: str, path: Path) -> str:
    """The secret in a file, without what stands around it; `where` is the setting that names it.

    Raises ConfigError for a file that cannot be read, or is empty. Others that may read it are
    warned about.
    """
    path = path.expanduser()
    try:
        # Editors and `echo` end a file with a line break, which is no part of the secret.
        value = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{where}: cannot read {path}: {type(error).__name__}") from None
    if not value:
        raise ConfigError(f"{where}: {path} is empty")
    if exposed := exposed_secret(path):
        log.warning("%s: %s", where, exposed)
    return value


def secret_in_environment(where: str, variable: str, environ: Mapping[str, str]) -> str:
    """The secret in a variable, or in the file that the variable with `_FILE` behind it names.

    Raises ConfigError without either, and as `read_secret` does.
    """
    # What fills variables from files may leave their line breaks there.
    value = environ.get(variable, "").strip()
    if value:
        return value
    file = environ.get(f"{variable}_FILE")
    if not file:
        raise ConfigError(
            f"{where}: the variable {variable} is not set, and {variable}_FILE neither"
        )
    return read_secret(f"{variable}_FILE", Path(file))


def secret_of(
    where: str,
    given: SecretStr | None,
    variable: str | None,
    file: Path | None,
    environ: Mapping[str, str],
) -> str | None:
    """A secret of the settings, of the variable or of the file that they name; None without any.

    Raises ConfigError for two of them, for one that is empty, for a variable that is not set, and
    for a file that cannot be read. A file that others may read is warned about.
    """
    if sum(one is not None for one in (given, variable, file)) > 1:
        raise ConfigError(f"{where}, {where}_env and {where}_file: set one of them")
    if variable is not None:
        return secret_in_environment(f"{where}_env", variable, environ)
    if file is not None:
        return read_secret(f"{where}_file", file)
    value = given.get_secret_value() if given is not None else None
    if value is not None and not value.strip():
        raise ConfigError(f"{where} is empty")
    return value


__all__ = ["read_secret", "secret_in_environment", "secret_of"]
