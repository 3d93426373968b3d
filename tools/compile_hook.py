"""Puts compiled modules into a wheel: a build hook of hatchling's, for mypyc (docs/adr/0009-compiled-where-it-pays.md).

It runs only when asked for, by `HATCH_BUILD_HOOK_ENABLE_CUSTOM=1` as `tools/build_wheel.sh` sets it, and never for an
editable install, where what is edited must be what runs. `pyproject.toml` says which modules. Each stays in the wheel
as source too, for tracebacks and readers; Python imports the extension that lies beside it.

All that is made on the way is made in a temporary folder, so no extension ever lies among the sources, where it would
silently be run in their place. That is why this is not `hatch-mypyc`, which builds there and moves `pyproject.toml`
out of the way meanwhile.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from mypyc.build import mypycify
from setuptools import Distribution

# What mypy must know, in place of the project's own configuration, so that the outcome depends on nothing that happens
# to be installed: other packages' types are unknown, as those of hiredis and hpack are where only the build's own
# requirements are there. `make lint` is where types are checked in earnest.
_MYPY_OPTIONS = ("--config-file=", "--no-site-packages", "--ignore-missing-imports", "--python-version=3.11")
# The library that holds the code of all modules; by default its name is a hash of theirs.
_LIBRARY = "sidecar"


class CompileHook(BuildHookInterface[Any]):
    """Compiles the modules that the option `modules` lists, with `*` for those of a folder."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, unless the wheel is an editable one; part of `BuildHookInterface`."""
        if version == "editable":
            return
        self._folder = Path(tempfile.mkdtemp(prefix="sidecar-compile-"))
        try:
            extensions = self._compile()
        except BaseException:  # mypyc ends the program where it finds a mistake
            shutil.rmtree(self._folder)
            raise
        for extension in extensions:
            build_data["force_include"][str(extension)] = str(extension.relative_to(self._folder / "lib"))
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002 (hatchling's)
        """Remove what the wheel now holds; part of `BuildHookInterface`."""
        if version != "editable":
            shutil.rmtree(self._folder)

    def _compile(self) -> list[Path]:
        """Return the extensions, in a folder laid out as the wheel is."""
        with contextlib.chdir(self.root):
            extensions = mypycify(
                [*_MYPY_OPTIONS, f"--cache-dir={self._folder / 'cache'}", *self._modules()],
                target_dir=str(self._folder / "c"),
                group_name=_LIBRARY,
                debug_level="0",
            )
            command = Distribution({"ext_modules": extensions}).get_command_obj("build_ext")
            command.build_lib = str(self._folder / "lib")
            command.build_temp = str(self._folder / "temp")
            command.ensure_finalized()
            command.run()
        return [path for path in (self._folder / "lib").rglob("*") if path.is_file()]

    def _modules(self) -> list[str]:
        """Return the paths of the modules, in a fixed order."""
        root = Path(self.root)
        found = {str(path.relative_to(root)) for pattern in self.config["modules"] for path in root.glob(pattern)}
        return sorted(found)
