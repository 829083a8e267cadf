"""What the tests know of each rule, one module a chapter; every module here is found by itself."""

import importlib
import pkgutil

from harness.oracles import Evidence

#: By the name of the rule.
EVIDENCE = {}
for _module in pkgutil.iter_modules(__path__, f"{__name__}."):
    for _found in vars(importlib.import_module(_module.name)).values():
        if isinstance(_found, Evidence):
            EVIDENCE[_found.rule.__name__] = _found
