"""Names in backticks in docstrings: a link where they are documented, code where they exist, else a warning."""

import builtins
import re
import sys
from importlib import import_module

from docutils import nodes
from sphinx import addnodes

PACKAGE = "padl_bayes"


def exists(name):
    """Whether a dotted name can be imported, or is an attribute of what can be."""
    module, parts = None, name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            module = import_module(".".join(parts[:length]))
        except ImportError:
            continue
        break
    if module is None:
        return hasattr(builtins, parts[0])
    for part in parts[length:]:
        if not hasattr(module, part):
            return False
        module = getattr(module, part)
    return True


def candidates(name, module, holder):
    """Full names that a short one may stand for, written in a class of a module: the nearest first."""
    around = [PACKAGE] if module is None else module.split(".")
    prefixes = [".".join(around[:length]) for length in range(len(around), 0, -1)]
    if holder:
        prefixes.insert(0, f"{prefixes[0]}.{holder}")
    return [*(f"{prefix}.{name}" for prefix in prefixes), name]


def loaded(name):
    """Whether a module of the package that is in use knows the name."""
    modules = [module for key, module in sys.modules.items() if key.partition(".")[0] == PACKAGE]
    return any(hasattr(module, name.partition(".")[0]) for module in modules)


def resolve(app, env, node, contnode):
    """Look a name up that Sphinx did not find as it stands."""
    if node.get("refdomain") != "py":
        return None
    domain, target = env.get_domain("py"), node["reftarget"]
    full = candidates(target, node.get("py:module"), node.get("py:class"))
    ending = [name for name in domain.objects if name.endswith(f".{target}")]
    for name in full + (ending if len(ending) == 1 else []):
        if name in domain.objects:
            return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", name, node, contnode)
    if any(map(exists, full)) or loaded(target):
        return nodes.literal("", contnode.astext())
    return None


def escape_names(app, what, name, obj, options, lines):
    """Keep reStructuredText from reading ``n_active_`` in a shape as a link."""
    lines[:] = [re.sub(r"(?<=[(,\s])(\w+)_(?=[,)])", r"\1\\_", line) for line in lines]


def drop_aliases(app, doctree):
    """Leave out fields of which nothing is said but their number: the class tells of them."""
    for entry in list(doctree.findall(addnodes.desc)):
        if re.match(r"Alias for field number \d+\s*(!!.*)?$", entry[-1].astext()):
            entry.parent.remove(entry)


def setup(app):
    app.connect("doctree-read", drop_aliases)
    app.connect("autodoc-process-docstring", escape_names, priority=100)
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
