"""The choices that there are for a component of the networks, by name."""

from collections.abc import Callable, Mapping
from typing import Any

from vsr_plugin.errors import ComponentError


class ComponentTable:
    """Classes by the names that configs use.

    Args:
        component: what is chosen, such as ``'alignment'``; the name of the networks' argument.

    Example:
        >>> table = ComponentTable("colour")
        >>> @table.register("red")
        ... class Red: ...
        >>> type(table.build("red")).__name__
        'Red'
    """

    def __init__(self, component: str):
        self.component = component
        self._classes: dict[str, type] = {}

    def register(self, name: str) -> Callable[[type], type]:
        """Decorator that enters a class under ``name``.

        Raises:
            ComponentError: another class has the name.
        """

        def enter(cls: type) -> type:
            taken = self._classes.setdefault(name, cls)
            # The same file may be imported again under another module name, by a config for example.
            if taken.__qualname__ != cls.__qualname__:
                raise ComponentError(f"{self.component} {name!r} exists already; choose another name")
            self._classes[name] = cls
            return cls

        return enter

    def names(self) -> list[str]:
        """The names that can be chosen."""
        return list(self._classes)

    def name_of(self, cls: type) -> str:
        """The name under which a class was entered."""
        return next(name for name, entered in self._classes.items() if entered is cls)

    def build(self, choice: str | Mapping[str, Any], **arguments: Any) -> Any:
        """Make what was chosen.

        Args:
            choice: a name, or ``dict(type=name, ...)`` with arguments of the class.
            arguments: what every choice is given.

        Raises:
            ComponentError: there is no such choice, or it does not take the arguments.
        """
        options = dict(choice) if isinstance(choice, Mapping) else dict(type=choice)
        name = options.pop("type", None)
        if name not in self._classes:
            known = ", ".join(self._classes)
            raise ComponentError(f"`{self.component}` {name!r} does not exist; choose one of {known}")
        try:
            return self._classes[name](**arguments, **options)
        except TypeError as error:
            raise ComponentError(f"`{self.component}` {name!r} cannot be made: {error}") from error
