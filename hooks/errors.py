"""The errors a user can cause: each says what was asked, what came, and what to do."""


class InterpError(Exception):
    """Base of every error raised on purpose; the command line prints it in one line and exits with 2."""


class InputError(InterpError, ValueError):
    """An argument has the wrong shape, type or values."""


class DrivenError(InterpError, TypeError):
    """An autonomous map was needed and a driven one came, or a drive was missing."""


class ContractError(InterpError):
    """A map breaks one of the invariants that every analysis relies on."""


class LoadError(InterpError):
    """A source could not be read as a network."""


class CaptureError(InterpError, LookupError):
    """A site does not exist, or never fired."""


class EnclosureError(InterpError):
    """A step uses an operation for which no rigorous bound is known."""
