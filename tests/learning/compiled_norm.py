"""Compiles the kernels of the fused batch norm for a GPU that need not be there; prints JSON.

For each kernel: loads of 16 bytes, and bytes of registers spilled to memory.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from stfmri.learning.fused_norm import kernels, operator

INTEGERS = {*kernels.SIZES}
FLOATS = {"momentum", "eps"}
HALF = {"x", "y", "residual", "gradient", "to_x", "to_residual"}
TILE = {"BLOCK_P": operator.TILE // operator.WIDEST, "BLOCK_C": operator.WIDEST}
SUMS = {"PROGRAMS": operator.MOST_PROGRAMS, "BLOCK_C": operator.FINISH_CHANNELS}
VARIANTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("statistics", TILE),
    ("finish_statistics", {**SUMS, "BLOCK_P": TILE["BLOCK_P"]}),
    *(
        (name, {**TILE, "RELU": relu, "RESIDUAL": added})
        for name in ("normalise", "gradient_sums")
        for relu, added in ((False, False), (True, False), (True, True))
    ),
    ("finish_gradients", SUMS),
    *(("gradients", {**TILE, "RELU": relu}) for relu in (False, True)),
)


def kind(name: str, half: str) -> str:
    if name in INTEGERS:
        return "i32"
    if name in FLOATS:
        return "fp32"
    return "*i64" if name == "tracked" else f"*{half if name in HALF else 'fp32'}"


def compiled(name: str, constants: dict[str, Any], half: str, target: GPUTarget) -> dict[str, Any]:
    kernel = getattr(kernels, name)
    names = kernel.arg_names
    signature = {item: "constexpr" if item in constants else kind(item, half) for item in names}
    aligned = {
        (number,): [["tt.divisibility", 16]]
        for number, item in enumerate(names)
        if signature[item].startswith("*")
    }
    source = ASTSource(kernel, signature, constexprs=constants, attrs=aligned)
    binary = triton.compile(source, target=target, options={"num_warps": operator.WARPS})
    ptx = binary.asm["ptx"]
    return {
        "kernel": name,
        "constants": constants,
        "wide loads": ptx.count("ld.global.v4.b32"),
        "wide stores": ptx.count("st.global.v4.b32"),
        "local": ptx.count(".local"),
        "cubin": len(binary.asm["cubin"]),
    }


if __name__ == "__main__":
    target = GPUTarget("cuda", int(sys.argv[1]), 32)
    json.dump([compiled(*variant, sys.argv[2], target) for variant in VARIANTS], sys.stdout)
