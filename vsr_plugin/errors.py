"""Errors that are meant for a person: one line that names the input, the fault and the way out."""


def printable(text: str) -> str:
    """Return text as one line that any terminal takes; names of files may hold line ends and what is no text."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode("ascii") for char in text
    )


class VSRError(Exception):
    """Base of every error that this package raises about what it was given.

    Command-line tools print its text as one line and exit with status 1; Python callers can
    catch it as one type. Programming mistakes stay ``TypeError`` / ``ValueError``.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


class MediaError(VSRError):
    """A video, image or folder that cannot be read or written as asked."""


class DataError(VSRError):
    """Clips for training or evaluation that are incomplete, damaged, or do not fit together."""


class WeightsError(VSRError):
    """A weights name or file that cannot be found, trusted, read or matched to a network."""


class ComponentError(VSRError, ValueError):
    """Components of a network that do not exist or do not go together.

    Also a ``ValueError``, since it is as often an argument in a program as a setting in a config.
    """


class TrainingError(VSRError):
    """A training run that cannot begin or go on."""


class ExportError(VSRError):
    """A network that cannot be exported as asked, or whose export does not compute the same."""


def not_finite(frame: int) -> VSRError:
    """What to raise where a network gives numbers that are not finite, which would be black; ``frame`` from 0."""
    return VSRError(
        f"frame {frame} of the sequence: the network gives numbers that are not finite; either the frames hold such "
        "numbers, or its weights are of a training that failed: take an earlier checkpoint"
    )


def portable(error: BaseException) -> BaseException:
    """The error as another process can have it: with its traceback as text, and of a kind that can be pickled."""
    import pickle
    from multiprocessing.pool import ExceptionWithTraceback  # slow to import, and seldom needed

    sent = ExceptionWithTraceback(error, error.__traceback__)
    try:
        pickle.loads(pickle.dumps(sent))
    except Exception:  # one whose class wants other arguments than it keeps
        sent = ExceptionWithTraceback(RuntimeError(f"{type(error).__name__}: {error}"), error.__traceback__)
    return sent


def give_hint(error: BaseException, hint: str) -> None:
    """Attach to an error, an interruption included, what the person can do next, for whoever reports it."""
    error.vsr_hint = hint


def hint_of(error: BaseException) -> str:
    """The hint attached by :func:`give_hint`, or an empty text."""
    return getattr(error, "vsr_hint", "")
