"""Triton kernels of batch norm with an optional residual and rectifier, over rows of channels.

Activations are (P, C) in memory: P = B·T·H·W voxels in rows of C channels, of any floating type.
Statistics, parameters and sums are float32. Sums over voxels are made in two steps, by some
hundreds of programs and then by one for each channel, always in the same order: results are the
same each time. A program takes every n-th tile of rows. The first pass over a tensor goes upwards
and the second downwards, so that it begins with what the cache still holds.
"""

from __future__ import annotations

import triton
import triton.language as tl

# One compiled kernel serves every size: C is given in eights, so that the compiler knows that rows
# begin at multiples of eight values and reads 16 bytes at a time.
SIZES = ("rows", "eights", "own", "programs")


@triton.jit
def _rows_of(program, programs, rows, BLOCK_P: tl.constexpr):
    """How many rows the tiles program, program + programs, … have together."""
    tiles = (rows + BLOCK_P - 1) // BLOCK_P
    own = (tiles - program + programs - 1) // programs
    missing = tl.where((tiles - 1) % programs == program, tiles * BLOCK_P - rows, 0)
    return own * BLOCK_P - missing


@triton.jit
def _load(pointer, tile, offset, here):
    return tl.load(pointer + tile + offset, mask=here, other=0.0).to(tl.float32)


@triton.jit(do_not_specialize=SIZES)
def statistics(x, partial, rows, eights, BLOCK_P: tl.constexpr, BLOCK_C: tl.constexpr):
    """Mean and sum of squared deviations of each program's rows: float32 (2, programs, C).

    Deviations are summed from the mean of the program's first tile, so that nothing cancels.
    """
    C = eights * 8
    program, programs = tl.program_id(0), tl.num_programs(0)
    row = tl.arange(0, BLOCK_P)[:, None]
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)[None, :]
    offset = row * C + channel
    first = program * BLOCK_P
    here = (first + row < rows) & (channel < C)
    values = _load(x, tl.cast(first, tl.int64) * C, offset, here)
    shift = tl.sum(values, 0)[None, :] / tl.minimum(rows - first, BLOCK_P)
    total = tl.zeros([BLOCK_P, BLOCK_C], tl.float32)
    square = tl.zeros([BLOCK_P, BLOCK_C], tl.float32)
    for start in range(first, rows, programs * BLOCK_P):
        here = (start + row < rows) & (channel < C)
        values = _load(x, tl.cast(start, tl.int64) * C, offset, here)
        values = tl.where(here, values - shift, 0.0)
        total += values
        square += values * values
    count = _rows_of(program, programs, rows, BLOCK_P)
    deviation = tl.sum(total, 0)[None, :]
    squares = tl.sum(square, 0)[None, :] - deviation * deviation / count
    place = partial + program * C + channel
    tl.store(place, shift + deviation / count, mask=channel < C)
    tl.store(place + programs * C, squares, mask=channel < C)


@triton.jit(do_not_specialize=SIZES)
def finish_statistics(
    partial,
    weight,
    bias,
    running_mean,
    running_var,
    tracked,
    saved,
    rows,
    eights,
    own,
    programs,
    momentum,
    eps,
    BLOCK_P: tl.constexpr,
    PROGRAMS: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """From the programs' sums: running statistics, and float32 (4, C) of what the passes need.

    Those are mean, 1 / standard deviation, weight / standard deviation, bias. Channels from own on
    have no parameters; their weight and bias are zero.
    """
    C = eights * 8
    program = tl.arange(0, PROGRAMS)[:, None]
    channel = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)[None, :]
    here = (program < programs) & (channel < C)
    count = tl.where(program < programs, _rows_of(program, programs, rows, BLOCK_P), 0)
    count = count.to(tl.float32)
    place = partial + program * C + channel
    means = tl.load(place, mask=here, other=0.0)
    squares = tl.load(place + programs * C, mask=here, other=0.0)
    mean = tl.sum(count * means, 0)[None, :] / rows
    apart = tl.where(here, means - mean, 0.0)
    square = tl.sum(squares + count * apart * apart, 0)[None, :]
    inverse = 1.0 / tl.sqrt(square / rows + eps)
    has_parameters = channel < own
    scale = tl.load(weight + channel, mask=has_parameters, other=0.0) * inverse
    tl.store(saved + channel, mean, mask=channel < C)
    tl.store(saved + C + channel, inverse, mask=channel < C)
    tl.store(saved + 2 * C + channel, scale, mask=channel < C)
    tl.store(
        saved + 3 * C + channel,
        tl.load(bias + channel, mask=has_parameters, other=0.0),
        mask=channel < C,
    )
    old = tl.load(running_mean + channel, mask=has_parameters)
    tl.store(running_mean + channel, old + momentum * (mean - old), mask=has_parameters)
    old = tl.load(running_var + channel, mask=has_parameters)
    tl.store(
        running_var + channel, old + momentum * (square / (rows - 1) - old), mask=has_parameters
    )
    if tl.program_id(0) == 0:
        tl.store(tracked, tl.load(tracked) + 1)


@triton.jit(do_not_specialize=SIZES)
def normalise(
    x,
    residual,
    y,
    saved,
    rows,
    eights,
    RELU: tl.constexpr,
    RESIDUAL: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """y = relu((x - mean) · scale + bias + residual)."""
    C = eights * 8
    program, programs = tl.program_id(0), tl.num_programs(0)
    row = tl.arange(0, BLOCK_P)[:, None]
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)[None, :]
    offset = row * C + channel
    mean = tl.load(saved + channel, mask=channel < C, other=0.0)
    scale = tl.load(saved + 2 * C + channel, mask=channel < C, other=0.0)
    bias = tl.load(saved + 3 * C + channel, mask=channel < C, other=0.0)
    tiles = (rows + BLOCK_P - 1) // BLOCK_P
    for number in range(program, tiles, programs):
        start = (tiles - 1 - number) * BLOCK_P
        tile = tl.cast(start, tl.int64) * C
        here = (start + row < rows) & (channel < C)
        values = (_load(x, tile, offset, here) - mean) * scale + bias
        if RESIDUAL:
            values += _load(residual, tile, offset, here)
        if RELU:
            values = tl.where(values < 0.0, 0.0, values)  # keeps NaN, as torch does
        tl.store(y + tile + offset, values.to(y.dtype.element_ty), mask=here)


@triton.jit
def _through_relu(gradient, centred, scale, bias, x):
    """The gradient before a rectifier that has no residual: the output's sign is computed again."""
    output = (centred * scale + bias).to(x.dtype.element_ty)
    return tl.where(output <= 0.0, 0.0, gradient)


@triton.jit(do_not_specialize=SIZES)
def gradient_sums(
    gradient,
    x,
    y,
    saved,
    to_residual,
    partial,
    rows,
    eights,
    RELU: tl.constexpr,
    RESIDUAL: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Sums of g and g · (x - mean) over each program's rows: float32 (2, programs, C).

    g is the gradient before the rectifier; with a residual it is the residual's gradient, and is
    written.
    """
    C = eights * 8
    program, programs = tl.program_id(0), tl.num_programs(0)
    row = tl.arange(0, BLOCK_P)[:, None]
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)[None, :]
    offset = row * C + channel
    mean = tl.load(saved + channel, mask=channel < C, other=0.0)
    scale = tl.load(saved + 2 * C + channel, mask=channel < C, other=0.0)
    bias = tl.load(saved + 3 * C + channel, mask=channel < C, other=0.0)
    total = tl.zeros([BLOCK_P, BLOCK_C], tl.float32)
    product = tl.zeros([BLOCK_P, BLOCK_C], tl.float32)
    for start in range(program * BLOCK_P, rows, programs * BLOCK_P):
        tile = tl.cast(start, tl.int64) * C
        here = (start + row < rows) & (channel < C)
        g = _load(gradient, tile, offset, here)
        centred = _load(x, tile, offset, here) - mean
        if RESIDUAL:
            g = tl.where(_load(y, tile, offset, here) <= 0.0, 0.0, g)
            place = to_residual + tile + offset
            tl.store(place, g.to(to_residual.dtype.element_ty), mask=here)
        elif RELU:
            g = _through_relu(g, centred, scale, bias, x)
        total += g
        product += g * centred  # g is zero where there is no row
    place = partial + program * C + channel
    tl.store(place, tl.sum(total, 0)[None, :], mask=channel < C)
    tl.store(place + programs * C, tl.sum(product, 0)[None, :], mask=channel < C)


@triton.jit(do_not_specialize=SIZES)
def finish_gradients(
    partial,
    saved,
    to_weight,
    to_bias,
    factors,
    rows,
    eights,
    own,
    programs,
    PROGRAMS: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Gradients of weight and bias, and float32 (2, C): what `gradients` adds to scale · g.

    The first is a factor of x - mean, the second a constant.
    """
    C = eights * 8
    program = tl.arange(0, PROGRAMS)[:, None]
    channel = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)[None, :]
    here = (program < programs) & (channel < C)
    place = partial + program * C + channel
    total = tl.sum(tl.load(place, mask=here, other=0.0), 0)[None, :]
    product = tl.sum(tl.load(place + programs * C, mask=here, other=0.0), 0)[None, :]
    inverse = tl.load(saved + C + channel, mask=channel < C, other=0.0)
    scale = tl.load(saved + 2 * C + channel, mask=channel < C, other=0.0)
    tl.store(to_bias + channel, total, mask=channel < own)
    tl.store(to_weight + channel, product * inverse, mask=channel < own)
    slope = -scale * inverse * inverse * (product / rows)
    tl.store(factors + channel, slope, mask=channel < C)
    tl.store(factors + C + channel, -scale * (total / rows), mask=channel < C)


@triton.jit(do_not_specialize=SIZES)
def gradients(
    gradient,
    x,
    saved,
    factors,
    to_x,
    rows,
    eights,
    RELU: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """The gradient of x.

    Args:
        gradient: after the rectifier with RELU, else before it.
    """
    C = eights * 8
    program, programs = tl.program_id(0), tl.num_programs(0)
    row = tl.arange(0, BLOCK_P)[:, None]
    channel = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)[None, :]
    offset = row * C + channel
    mean = tl.load(saved + channel, mask=channel < C, other=0.0)
    scale = tl.load(saved + 2 * C + channel, mask=channel < C, other=0.0)
    bias = tl.load(saved + 3 * C + channel, mask=channel < C, other=0.0)
    slope = tl.load(factors + channel, mask=channel < C, other=0.0)
    constant = tl.load(factors + C + channel, mask=channel < C, other=0.0)
    tiles = (rows + BLOCK_P - 1) // BLOCK_P
    for number in range(program, tiles, programs):
        start = (tiles - 1 - number) * BLOCK_P
        tile = tl.cast(start, tl.int64) * C
        here = (start + row < rows) & (channel < C)
        g = _load(gradient, tile, offset, here)
        centred = _load(x, tile, offset, here) - mean
        if RELU:
            g = _through_relu(g, centred, scale, bias, x)
        values = scale * g + slope * centred + constant
        tl.store(to_x + tile + offset, values.to(to_x.dtype.element_ty), mask=here)
