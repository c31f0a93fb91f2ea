"""The state that strategies can reach and that no run owns: attributes of classes, globals, defaults, closures.

A copy of a strategy's attributes is the strategy again only if all of this is as it was. `outside_of` walks what the code of
strategies refers to, and answers a digest of it; what it can't read, or what may keep something unseen, it refuses.
"""

from __future__ import annotations

import builtins
import io
import pickle
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from enum import Enum
from functools import cached_property, lru_cache
from hashlib import sha256
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any, NamedTuple

import numpy as np

from nbbacktest.core.errors import StateError

_LIBRARIES = frozenset(
    "__future__ abc array bisect builtins cmath collections contextlib copy copyreg dataclasses datetime decimal enum fractions "  # noqa: SIM905
    "functools heapq itertools json logging math nbbacktest numbers numpy operator pandas pyarrow random re scipy statistics string talib "
    "time types typing typing_extensions warnings zoneinfo".split()
)
"""Modules that keep nothing of a strategy's, but for the numbers of `random` and `numpy.random`, which are watched."""
_COPIED = frozenset(
    "_codecs array collections copyreg datetime decimal enum fractions functools nbbacktest numpy operator pandas pyarrow random re "  # noqa: SIM905
    "zoneinfo".split()
)
"""Modules whose objects pickle copies with all that is in them."""
_BUILTINS = (int, float, complex, str, bytes, bytearray, bool, tuple, list, dict, frozenset, range, slice)
_REFUSED = frozenset({"open", "id", "hash", "globals", "exec", "eval", "compile", "__import__", "input", "breakpoint"})
_Cached = type(lru_cache(len))
_HOOKS = ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__", "__getnewargs__", "__getnewargs_ex__")
_NO_STATE = frozenset(
    "__dict__ __weakref__ __doc__ __module__ __qualname__ __annotations__ __slots__ __abstractmethods__ _abc_impl __match_args__ "  # noqa: SIM905
    "__dataclass_fields__ __dataclass_params__ __parameters__ __orig_bases__ __firstlineno__ __static_attributes__ "
    "_strategy_context".split()
)
ROOM = 4 << 20
"""The most bytes of one value."""


class Outside(NamedTuple):
    """The objects outside of a run that strategies can reach, at one moment.

    Attributes
    ----------
    roots : tuple
        The classes and functions that the walk began with.
    reached : tuple
        The users' classes and functions; held, so that another object can't be taken for one of them.
    digest : bytes
    """

    roots: tuple[Any, ...]
    reached: tuple[Any, ...]
    digest: bytes

    @property
    def is_unchanged(self) -> bool:
        """True if all of it is now as it was then; raises `StateError` as `outside_of`."""
        return outside_of(self.roots).digest == self.digest


_SLOTS = (MemberDescriptorType, GetSetDescriptorType, type(vars(Outside)["digest"]))
"""The descriptors of a class that stand for the attributes of its objects."""


def outside_of(roots: tuple[Any, ...], own: Iterable[Any] = ()) -> Outside:
    """The objects that the code of these classes and functions can reach.

    Parameters
    ----------
    own
        Objects that were copied for strategies: one that is also outside would be two objects after that.

    Raises
    ------
    StateError
        Something can't be read, or may keep what isn't seen.
    """
    walk = _Walk()
    for root in roots:
        walk.value(root)
    while walk.todo:
        walk.next()
    shared = {id(one) for one in walk.changeable}
    if any(id(one) in shared for one in own):
        raise StateError("a strategy shares an object with its class, its module or another function")
    return Outside(roots, tuple(walk.reached.values()), walk.digest.digest())


class Room(io.BytesIO):
    """Bytes in memory, of which there may not be more than `ROOM`."""

    def write(self, data: Any, /) -> int:
        """Add bytes; raises `StateError` if there is no room."""
        if self.tell() + len(data) > ROOM:
            raise StateError(f"it takes more than {ROOM >> 20} MiB")
        return super().write(data)


def is_users(value: Any) -> bool:
    """True for a class or function that isn't of a library: its code is read."""
    if isinstance(value, FunctionType):
        return is_users_module(
            value.__globals__.get("__name__") or "__main__"
        )  # a wrapper has the name of what it wraps
    return is_users_module(getattr(value, "__module__", None) or "__main__")


def is_users_module(name: str) -> bool:
    """True for the name of a module that isn't a library's."""
    root = name.partition(".")[0]
    if root in _LIBRARIES or root.startswith("_cython_") or (root in sys.stdlib_module_names and root != "__main__"):
        return False
    file = getattr(sys.modules.get(name), "__file__", None) or ""
    return "site-packages" not in file and "dist-packages" not in file


def is_changeable(value: Any) -> bool:
    """True for an object that may be changed, so that it matters which one it is."""
    kind = type(value)
    if kind in (list, dict, bytearray, np.ndarray):
        return True
    if isinstance(value, (type, FunctionType, Enum)):
        return False
    return kind.__module__ in ("collections", "random") or kind.__module__.startswith("pandas.core") or is_users(kind)


def refusal(value: Any) -> str | None:
    """The reason that pickle would share or lose a part of `value`; None if it copies all, or all is read by name."""
    kind: Any = type(value)
    if isinstance(value, FunctionType):
        if any(isinstance(one, (list, dict, set, bytearray)) for one in value.__defaults__ or ()):
            return f"{value.__qualname__} may keep something in its defaults"
        return None
    if isinstance(value, (type, BuiltinFunctionType, MethodType, pickle.PickleBuffer)) or kind.__name__ in (
        "ufunc",
        "cython_function_or_method",
    ):
        return None
    if isinstance(value, frozenset) and list(frozenset(list(value))) != list(value):
        return f"the order of {value!r} depends on how it was made"
    return None if _is_copied(kind) else f"{value!r} can't be copied"


@lru_cache(4096)
def _is_copied(kind: Any) -> bool:
    root = kind.__module__.partition(".")[0]
    if root == "builtins":
        return kind in _BUILTINS
    if not is_users(kind):
        return root in _COPIED
    for one in kind.__mro__:
        if is_users(one) and not _is_plain(one):
            return False
        if not is_users(one) and one is not object and not (one in _BUILTINS or _is_base(one)):
            return False
    return True


def _is_base(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in (*_COPIED, "abc", "typing", "dataclasses")


def _is_plain(kind: type) -> bool:
    own = vars(kind)
    hooks = [own[name] for name in _HOOKS if name in own]
    made = ("dataclasses", "collections") if hasattr(kind, "__dataclass_fields__") else ()
    return (issubclass(kind, tuple) and hasattr(kind, "_fields")) or all(
        getattr(one, "__module__", "") in made for one in hooks
    )


@lru_cache(4096)
def _names(code: CodeType) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """The globals, the imported modules and all names of a function's code."""
    import dis  # here, since few runs need it

    used: set[str] = set()
    imported: set[str] = set()
    every = set(code.co_names)
    for step in dis.get_instructions(code):
        if step.opname == "IMPORT_NAME":
            imported.add(str(step.argval))
        elif step.opname in ("LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL", "DELETE_GLOBAL"):
            used.add(str(step.argval))
    for part in code.co_consts:
        if isinstance(part, CodeType):
            inner = _names(part)
            used |= inner[0]
            imported |= inner[1]
            every |= inner[2]
    return frozenset(used), frozenset(imported), frozenset(every)


def _cells(one: Any) -> list[Any]:
    """The values that a function closes over."""
    found = []
    for cell in getattr(one, "__closure__", None) or ():
        with suppress(ValueError):  # still empty
            found.append(cell.cell_contents)
    return found


class _Walk:
    """One walk over what code can reach."""

    def __init__(self) -> None:
        self.reached: dict[int, Any] = {}
        self.todo: list[Any] = []
        self.changeable: list[Any] = []
        self.digest = sha256()

    def next(self) -> None:
        """Read one class or function that was reached."""
        one = self.todo.pop()
        if isinstance(one, type):
            for name, value in vars(one).items():
                if name not in _NO_STATE and not isinstance(value, _SLOTS):
                    self._note(name)
                    self.value(value)
            for base in one.__bases__:
                self.value(base)
        else:
            self._function(one)

    def value(self, value: Any, names: frozenset[str] = frozenset()) -> None:
        """Note a value; `names` are those that the code which has it uses."""
        if isinstance(value, (type, FunctionType)):
            self._code(value)
        elif isinstance(value, (staticmethod, classmethod)):
            self.value(value.__func__)
        elif isinstance(value, property):
            for part in (value.fget, value.fset, value.fdel):
                self.value(part)
        elif isinstance(value, cached_property):
            self.value(value.func)
        elif isinstance(value, _Cached):
            self.value(value.__wrapped__)
        elif isinstance(value, ModuleType):
            self._module(value, names)
        else:
            self._data(value)

    def _code(self, one: Any) -> None:
        self._note(str(id(one)))
        if id(one) in self.reached:
            return
        self.reached[id(one)] = one
        if is_users(one):
            self.todo.append(one)
            return
        self._library(one.__globals__["__name__"] if isinstance(one, FunctionType) else one.__module__)
        for value in _cells(one):
            self.value(value)  # what it wraps

    def _function(self, one: FunctionType) -> None:
        code = one.__code__
        self.reached[id(code)] = code
        self._note(str(id(code)))
        defaults = *(one.__defaults__ or ()), *(one.__kwdefaults__ or {}).values()
        for value in (*defaults, *_cells(one), *vars(one).values()):
            self.value(value)
        used, imported, names = _names(code)
        for module in sorted(imported):
            self._library(module)
        for name in sorted(used):
            self._note(name)
            if name in one.__globals__:
                self.value(one.__globals__[name], names)
            elif name in _REFUSED and hasattr(builtins, name):
                raise StateError(f"{one.__qualname__} calls {name}()")

    def _module(self, module: ModuleType, names: frozenset[str]) -> None:
        self._note(module.__name__)
        if module.__name__.partition(".")[0] in _LIBRARIES:
            return
        if not is_users_module(module.__name__):
            self._library(module.__name__)
        own: Mapping[str, Any] = vars(module)
        for name in sorted(names & own.keys()):
            self._note(name)
            self.value(own[name], names)

    def _library(self, module: str) -> None:
        if module.partition(".")[0] not in _LIBRARIES:
            raise StateError(f"{module or 'a module'} may keep something")

    def _data(self, value: Any) -> None:
        room = Room()
        try:
            _Noting(room, self).dump(value)
        except StateError:
            raise
        except Exception as error:
            raise StateError(f"{value!r} can't be read") from error
        self.digest.update(room.getbuffer())

    def _note(self, text: str) -> None:
        self.digest.update(text.encode() + b"\0")


class _Noting(pickle.Pickler):
    """Writes data, with users' classes and functions by what they are."""

    def __init__(self, file: io.BytesIO, walk: _Walk) -> None:
        super().__init__(file, pickle.HIGHEST_PROTOCOL)
        self._walk = walk

    def persistent_id(self, obj: Any) -> Any:
        """See the class."""
        if isinstance(obj, (type, FunctionType)):
            self._walk.value(obj)
            return ("code", id(obj)) if is_users(obj) else None
        if isinstance(obj, ModuleType):
            self._walk.value(obj)
            return "module", obj.__name__
        if obj is not None and not isinstance(obj, (set, frozenset)) and (reason := refusal(obj)) is not None:
            raise StateError(reason)
        if is_changeable(obj):
            self._walk.changeable.append(obj)
        if is_users(type(obj)):
            self._walk.value(type(obj))
        return None
