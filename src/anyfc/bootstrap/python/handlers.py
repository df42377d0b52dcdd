"""From a handler string to the callable it names."""

import importlib
import importlib.util
import os
import sys
from importlib.machinery import PathFinder

import frames
from answer import Failure, message


class Handlers:
    """Loads handlers when they are first asked for. A load that failed is tried again."""

    def __init__(self, code):
        self._code = code
        self._handlers = {}
        self._aside = {}

    def get(self, name):
        try:
            return self._handlers[name]
        except KeyError:
            handler = self._handlers[name] = self._load(name)
            return handler

    def _load(self, name):
        place, _, function = name.rpartition(".")
        if not (place and function):
            raise Failure("InvalidHandleName", "Invalid handler '%s'" % name)
        try:
            module = self._import(place)
        except ImportError as error:
            text = "Unable to import module '%s'" % place
            raise Failure("ImportModuleError", text, frames.last_lines(error)) from error
        except SyntaxError as error:
            text = "Syntax error in module '%s'" % place
            raise Failure("UserCodeSyntaxError", text, frames.last_lines(error)) from error
        except Exception as error:
            text = "Module initialization error: '%s'" % message(error)
            raise Failure("UserCodeError", text, frames.all_lines(error)) from error
        try:
            return getattr(module, function)
        except AttributeError as error:
            text = "Handler '%s' is missing on module '%s'" % (function, place)
            raise Failure("HandlerNotFound", text) from error

    def _import(self, place):
        folder, slash, leaf = place.lstrip("./").rpartition("/")
        if not slash:
            folder, _, leaf = leaf.rpartition(".")
            folder = folder.replace(".", "/")
        name = os.path.join(folder, leaf).replace("/", ".")
        if "." in folder or self._leads_elsewhere(name.partition(".")[0]):
            return self._import_aside(name, os.path.join(self._code, folder))
        return importlib.import_module(name)

    def _leads_elsewhere(self, name):
        """Whether `name` is in the code folder, but an import would give something else."""
        ours = PathFinder.find_spec(name, [self._code])
        if ours is None:
            return False
        loaded = sys.modules.get(name)
        found = getattr(loaded, "__spec__", None) if loaded else importlib.util.find_spec(name)
        return found is None or found.origin != ours.origin

    def _import_aside(self, name, folder):
        """Import by place what has the name of another module (`json`, `test/index`)."""
        if name not in self._aside:
            spec = PathFinder.find_spec(name, [folder])
            if spec is None or spec.loader is None:
                raise ModuleNotFoundError("No module named '%s'" % name, name=name)
            module = importlib.util.module_from_spec(spec)
            # The other one keeps its name: much of the standard library relies on it.
            named = sys.modules.setdefault(name, module) is module
            try:
                spec.loader.exec_module(module)
            except BaseException:
                if named:
                    sys.modules.pop(name, None)
                raise
            self._aside[name] = module
        return self._aside[name]
