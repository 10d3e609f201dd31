"""What ``--program`` names: the file of a compiled program, or something that Python imports, as ``package.module:name``."""

from __future__ import annotations

import inspect
import re
import sys
import warnings
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from conscience.cli._shared.output import printable
from conscience.errors import InputError

if TYPE_CHECKING:
    from conscience.backends.roles import Roles
    from conscience.program import Conscience

_IMPORTABLE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def is_importable(program: str) -> bool:
    """Whether it is written as ``package.module:name``, and is not a file of that name."""
    return _IMPORTABLE.fullmatch(program) is not None and not Path(program).exists()


def open_file(path: str | Path, roles: Roles, *, quiet: bool = False) -> Conscience:
    """A compiled program; what there is to warn of is one line on stderr, unless it is to be ``quiet``."""
    from conscience.program import Conscience

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        program: Conscience = Conscience.load(path, lm=roles)
    for warning in () if quiet else caught:
        click.echo(f"conscience: {printable(str(warning.message))}", err=True)
    return program


def imported(program: str) -> Any:
    """A ``Conscience``, or what one can be made of: a signature, a ``dspy.Module`` or a callable of the request.

    A class of programs or modules is made one of, a function without parameters is called for one. The current folder can
    be imported from.

    Raises:
        InputError: there is no such module, no such name in it, or it is not a program.
    """
    module_name, _, name = program.partition(":")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)  # as for python -m conscience
    value = _module(program, module_name)
    for part in name.split("."):
        if not hasattr(value, part):
            raise InputError(f"--program {program}: {module_name} has no name {name!r}", hint=_close(value, part))
        value = getattr(value, part)
    return _made(program, value)


def _module(program: str, name: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            hint = "it is looked for in the current folder and where Python finds its packages"
            raise InputError(f"--program {program}: there is no module {error.name!r}", hint=hint) from None
        raise InputError(f"--program {program}: importing {name} fails: {error}") from None
    except (ImportError, SyntaxError) as error:
        raise InputError(f"--program {program}: importing {name} fails: {error}") from None


def _made(program: str, value: Any) -> Any:
    import dspy

    if inspect.isclass(value):
        if issubclass(value, dspy.Signature):
            return value
        if not issubclass(value, dspy.Module):
            raise _no_program(program, f"the class {value.__name__}")
        if _needs_arguments(value):
            raise InputError(f"--program {program}: {value.__name__} needs arguments", hint="name an object made of it")
        return value()
    if inspect.isroutine(value) and not inspect.signature(value).parameters:
        value = value()
    if isinstance(value, dspy.Module) or callable(value):
        return value
    raise _no_program(program, f"a value of type {type(value).__name__}")


def _no_program(program: str, what: str) -> InputError:
    hint = "name a Conscience, a dspy.Module or signature, or a function of the request"
    return InputError(f"--program {program}: {what} is not a program", hint=hint)


def _needs_arguments(cls: type) -> bool:
    try:
        inspect.signature(getattr(cls, "__init__")).bind(None)  # noqa: B009 - DSPy's metaclass hides the class's own
    except TypeError:
        return True
    return False


def _close(value: Any, name: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, [n for n in dir(value) if not n.startswith("_")], 1)
    return f"did you mean {close[0]}?" if close else "name what is defined there"
