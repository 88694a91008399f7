"""What happens to a module that rules name: its source is woven, then its attributes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from functools import partial
from types import CodeType, ModuleType
from typing import Any, Final

from dytopo_autotrace.errors import nearest
from dytopo_autotrace.rules.match import Matcher
from dytopo_autotrace.rules.model import Rule
from dytopo_autotrace.weave.crossing import POOLS, cross_pools
from dytopo_autotrace.weave.finder import watch
from dytopo_autotrace.weave.heirs import weave_families
from dytopo_autotrace.weave.kinds import Weaver
from dytopo_autotrace.weave.patch import (
    Replaced,
    adopt,
    loaded_modules,
    names_in,
    reachable,
    rebind_aliases,
    weave_module,
)
from dytopo_autotrace.weave.source import Decorator, compile_woven
from dytopo_autotrace.weave.unfinished import when_done

_OURS: Final = __name__.partition(".")[0]


class Modules:
    """The finder's watcher: weaves what is imported, and what was imported before.

    Args:
        matcher: which rule a function falls under.
        weaver: makes the woven form.
        adopted: modules whose classic observability names are to be ours.
        classic_names: gives these names; called only when such a module is imported.
    """

    def __init__(
        self,
        matcher: Matcher,
        weaver: Weaver,
        adopted: frozenset[str] = frozenset(),
        classic_names: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        self._matcher = matcher
        self._weaver = weaver
        self._ledger = weaver.ledger
        self._adopted = adopted
        self._classic_names = classic_names
        self._unfinished: list[ModuleType] = []
        """Modules that were still executing when we came."""
        self.seen: set[str] = set()
        """Names of the modules that were executed or woven, whether or not anything matched."""
        # First in, so that it comes last, after everything in its own place: names that were bound
        # to what we wove while it was there.
        self._ledger.undo.append(
            lambda: rebind_aliases(
                {**self._ledger.at_source, **self._ledger.replaced}, loaded_modules()
            )
        )
        self.successor: Modules | None = None
        """What weaves by the rules that took the place of these."""

    def names(self, module_name: str, rule: Rule) -> bool:
        """Whether a rule has a target in a module."""
        return rule in self._matcher.wants(module_name)

    def wants(self, module_name: str) -> bool:
        if self._unfinished:
            self._weave_what_has_finished()
        return (
            bool(self._matcher.wants(module_name))
            or module_name in self._adopted
            or module_name == POOLS
        )

    def code_for(self, module_name: str, loader: Any) -> CodeType | None:
        if not self._matcher.needs_source(module_name):
            return None
        try:
            # The host's own compilation comes first, with its warnings, its faults and its cache.
            loader.get_code(module_name)
            source, filename = loader.get_source(module_name), loader.get_filename(module_name)
        except Exception as error:
            self._out_of_reach(module_name, f"it cannot be read: {error}")
            return None
        if source is None:
            self._out_of_reach(module_name, "there is none beside the compiled code")
            return None
        return self._compile(source, filename, (module_name,), only_unreachable=True)

    def compile(self, source: str | bytes, filename: str, *known_as: str) -> CodeType | None:
        """The code of a main module with decorators at what rules name, None if at nothing.

        Args:
            known_as: the names that rules may call the module by, the first being its own.
        """
        return self._compile(source, filename, known_as, only_unreachable=False)

    def _compile(
        self,
        source: str | bytes,
        filename: str,
        known_as: tuple[str, ...],
        *,
        only_unreachable: bool,
    ) -> CodeType | None:
        """Woven code; with `only_unreachable`, what an attribute leads to is left for `executed`."""
        self.seen.update(known_as)
        defined: set[str] = set()

        def wanted(qualname: str) -> Decorator | None:
            defined.add(qualname)
            if only_unreachable and reachable(qualname):
                return None
            return self._decorator_for(known_as, qualname)

        try:
            code = compile_woven(source, filename, wanted)
        except (SyntaxError, ValueError):
            return None  # Compiled without us, it raises what the host expects.
        except Exception as fault:
            self.contain(filename, fault)
            return None
        try:
            self._note_missing(known_as, defined, only_unreachable=only_unreachable)
        except Exception as fault:
            self.contain(filename, fault)
        return code

    def _decorator_for(self, known_as: tuple[str, ...], qualname: str) -> Decorator | None:
        for module_name in known_as:
            rule = self._matcher.rule_for(module_name, qualname)
            if rule is not None:
                # Woven below the decorators, a call has the name of the function all the same.
                named = qualname.removesuffix(".__wrapped__")
                return partial(self._decorate, known_as, qualname, named)
        return None

    def _decorate(self, known_as: tuple[str, ...], qualname: str, named: str, raw: Any) -> Any:
        """What stands at a `def`, woven by the rule that counts now."""
        if self.successor is not None:
            return self.successor._decorate(known_as, qualname, named, raw)  # noqa: SLF001 - one of us
        try:
            for module_name in known_as:
                rule = self._matcher.rule_for(module_name, qualname)
                if rule is not None:
                    return self._weaver.decorate(rule, f"{module_name}:{qualname}", named, raw)
        except Exception as fault:
            self.contain(qualname, fault)
        return raw

    def _note_missing(
        self, known_as: tuple[str, ...], defined: set[str], *, only_unreachable: bool
    ) -> None:
        for module_name in known_as:
            for selection in self._matcher.selections(module_name):
                for name in selection.literals:
                    if name in defined or (only_unreachable and reachable(name)):
                        continue
                    if name.removesuffix(".__wrapped__") in defined:
                        why = "It has no decorators; name it without .__wrapped__"
                    else:
                        why = f"The source has no such def. {nearest(name, defined)}".rstrip()
                    place = f"{module_name}:{name}"
                    self._ledger.note(selection.rule.name, place, "nothing_matched", why)

    def _out_of_reach(self, module_name: str, why: str) -> None:
        for selection in self._matcher.selections(module_name):
            for name in (*selection.literals, *selection.globs):
                if not reachable(name):
                    reason = f"reaching it takes the module's source, and {why}"
                    self._ledger.note(
                        selection.rule.name, f"{module_name}:{name}", "refused", reason
                    )

    def out_of_reach(self, *known_as: str) -> bool:
        """Note that a main module is compiled code; answers whether a rule names anything in it."""
        self.seen.update(known_as)
        named = [each for name in known_as for each in self._matcher.selections(name)]
        for selection in named:
            why = "the program is compiled code, and its functions are reached by its source"
            self._ledger.note(selection.rule.name, known_as[0], "refused", why)
        return bool(named)

    def executed(self, module: ModuleType, known: Collection[str]) -> None:
        if self.successor is not None:
            self.successor.executed(module, known)
            return
        try:
            replaced = self._weave(module)
            # Only what was imported meanwhile can have taken a name from it already.
            news = [each for name, each in sys.modules.copy().items() if name not in known]
            rebind_aliases(replaced, (module, *news))
        except Exception as fault:
            self.contain(_name_of(module), fault)

    def _weave(self, module: ModuleType, known_as: str = "") -> Replaced:
        self.seen.add(module.__name__)
        # Families first: which of two rules stands first they know, and what is woven stays so.
        weave_families(module, self._matcher, self._weaver)
        replaced = weave_module(module, self._matcher, self._weaver)
        if known_as not in ("", "__main__", module.__name__):  # `os.path` calls itself posixpath
            self.seen.add(known_as)
            replaced |= weave_module(module, self._matcher, self._weaver, known_as)
        if module.__name__ == POOLS:
            cross_pools(module, self._ledger)
        if module.__name__ in self._adopted:
            adopt(module, self._classic_names(), self._ledger)
        return replaced

    def contain(self, where: str, fault: Exception) -> None:
        self._ledger.faults.append(f"{where}: {type(fault).__name__}: {fault}")

    def weave_loaded(self) -> None:
        """Weave the modules that were imported before we came."""
        replaced: Replaced = {}
        for name, module in sys.modules.copy().items():
            if type(name) is str and issubclass(type(module), ModuleType) and self.wants(name):
                try:
                    self._weave_loaded(name, module, replaced)
                except Exception as fault:
                    self.contain(name, fault)
        rebind_aliases(replaced, loaded_modules())

    def _weave_loaded(self, name: str, module: ModuleType, replaced: Replaced) -> None:
        spec = names_in(module).get("__spec__")
        if name == "__main__" and str(getattr(spec, "name", "")).partition(".")[0] == _OURS:
            return  # Our own launcher; the program takes its place.
        if _is_asleep(module):
            self._ledger.undo.append(watch(spec, self))
        elif getattr(spec, "_initializing", False):
            self._unfinished.append(module)
            self._ledger.undo.append(when_done(spec, self._weave_what_has_finished))
        else:
            self._out_of_reach(name, "the module had been imported by then")
            replaced.update(self._weave(module, name))

    def _weave_what_has_finished(self) -> None:
        """Weave what was executing when we came: once it is done, or else at the next import."""
        unfinished, self._unfinished = self._unfinished, []
        for module in unfinished:
            if getattr(names_in(module).get("__spec__"), "_initializing", False):
                self._unfinished.append(module)
            elif sys.modules.get(_name_of(module)) is module:  # else its body raised
                self.executed(module, ())


def _name_of(module: ModuleType) -> str:
    return str(names_in(module).get("__name__"))


def _is_asleep(module: ModuleType) -> bool:
    """Whether it is one of importlib's lazy modules, which execute when they are first looked at."""
    lazy = getattr(sys.modules.get("importlib.util"), "_LazyModule", None)
    return lazy is not None and issubclass(type(module), lazy)
