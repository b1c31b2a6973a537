// The flow network: 7x7 convolutions on Hopper's tensor cores, and what each of them starts from.
//
// Activations are float16, which has the 11 significant bits of TF32; sums, images and flow are float32. One block
// computes a tile of 16x16 pixels of all output channels; in shared memory it has a border of three pixels. The sum
// runs over pieces of 8 input channels at a tap; weights come in stages of several pieces, of which one is computed
// while the next is on its way.
//
// For flow_conv, compile with INPUTS and OUTPUTS, the numbers of channels (outputs filled up to 8), and STAGES, which
// is 1 or 7, the rows of the kernel.

#ifndef INPUTS

// Where between which two pixels of `side` a pixel lies, if the corners of both images are aligned.
struct Between {
    int first, second;
    float share;
};
__device__ __forceinline__ Between between(int position, int enlarged, int side) {
    const float at = enlarged > 1 ? position * ((float)(side - 1) / (float)(enlarged - 1)) : 0.f;
    const int first = min((int)at, side - 1);
    return {first, min(first + 1, side - 1), at - first};
}

// The flow of the coarser level, enlarged, or zeros; and for the first convolution the reference, the neighbour sampled
// where that flow points (its border repeated outside), and the flow. A thread has a pixel.
extern "C" __global__ void __launch_bounds__(256)
    flow_start(const float* reference, const float* neighbour, const float* coarse, float* flow, Vec* out, int images,
               int height, int width) {
    const long long size = (long long)height * width, index = (long long)blockIdx.x * 256 + threadIdx.x;
    if (index >= size * images) return;
    const long long image = index / size;
    const int pixel = (int)(index % size), y = pixel / width, x = pixel % width;
    float dx = 0.f, dy = 0.f;
    if (coarse) {
        const int coarse_height = height / 2, coarse_width = width / 2;
        const float* plane = coarse + image * 2 * coarse_height * coarse_width;
        const Between row = between(y, height, coarse_height), column = between(x, width, coarse_width);
#pragma unroll
        for (int c = 0; c < 2; c++) {
            const float* upper = plane + row.first * coarse_width;
            const float* lower = plane + row.second * coarse_width;
            const float above = (1.f - column.share) * upper[column.first] + column.share * upper[column.second];
            const float below = (1.f - column.share) * lower[column.first] + column.share * lower[column.second];
            const float value = 2.f * ((1.f - row.share) * above + row.share * below);
            (c ? dy : dx) = value;
            plane += coarse_height * coarse_width;
        }
    }
    float* my_flow = flow + image * 2 * size + pixel;
    my_flow[0] = dx, my_flow[size] = dy;
    const float px = fminf(fmaxf(x + dx, 0.f), width - 1.f), py = fminf(fmaxf(y + dy, 0.f), height - 1.f);
    const int left = (int)px, top = (int)py, right = min(left + 1, width - 1), bottom = min(top + 1, height - 1);
    const float fx = px - left, fy = py - top;
    float ref[3], warped[3];
#pragma unroll
    for (int c = 0; c < 3; c++) {
        ref[c] = reference[(image * 3 + c) * size + pixel];
        const float* plane = neighbour + (image * 3 + c) * size;
        const float* upper = plane + (long long)top * width;
        const float* lower = plane + (long long)bottom * width;
        warped[c] = (1.f - fy) * ((1.f - fx) * upper[left] + fx * upper[right]) +
                    fy * ((1.f - fx) * lower[left] + fx * lower[right]);
    }
    Vec v;
    v.part[0] = pack(ref[0], ref[1]), v.part[1] = pack(ref[2], warped[0]);
    v.part[2] = pack(warped[1], warped[2]), v.part[3] = pack(dx, dy);
    out[index] = v;
}

#else

#define TILE 16
#define HALO (TILE + 6)
#define PLANE (HALO * HALO + 1)
#define PLANES (INPUTS / 8)
#define PIECES ((49 * PLANES + 1) / 2 * 2)
#define PIECES_OF_STAGE (PIECES / STAGES)
#define PIECE_BYTES (OUTPUTS * 16)
#define STAGE_BYTES (PIECES_OF_STAGE * PIECE_BYTES)
#define THREADS 256
#define STAGED (OUTPUTS * 2 + 16)  // bytes from pixel to pixel of the staged result
#define SUMS (OUTPUTS / 2)         // of a thread, for 64 pixels of its group of warps

__device__ __forceinline__ void load_stage(u32 to, const Vec* weight, int stage) {
    for (int i = threadIdx.x; i < STAGE_BYTES / 16; i += THREADS)
        copy_async(to + i * 16, weight + stage * (STAGE_BYTES / 16) + i, true);
}

#define FOUR(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define MULTIPLY(n, numbers, a, b, add, ...)                                                              \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " add ", 0;\nwgmma.mma_async.sync.aligned.m64n" n       \
                 "k16.f32.f16.f16 {" numbers "}, " a ", " b ", p, 1, 1, 0, 0;\n}\n"                         \
                 : __VA_ARGS__                                                                            \
                 : "l"(pixels), "l"(weights), "r"(adds))

// 64 pixels by OUTPUTS channels by 16 input channels.
__device__ __forceinline__ void multiply(float (&d)[SUMS], u64 pixels, u64 weights, int adds) {
#if OUTPUTS == 8
    MULTIPLY("8", "%0, %1, %2, %3", "%4", "%5", "%6", FOUR(d, 0));
#elif OUTPUTS == 16
    MULTIPLY("16", "%0, %1, %2, %3, %4, %5, %6, %7", "%8", "%9", "%10", FOUR(d, 0), FOUR(d, 4));
#elif OUTPUTS == 32
    MULTIPLY("32", "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15", "%16", "%17", "%18",
             FOUR(d, 0), FOUR(d, 4), FOUR(d, 8), FOUR(d, 12));
#else
    MULTIPLY("64",
             "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
             "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31",
             "%32", "%33", "%34", FOUR(d, 0), FOUR(d, 4), FOUR(d, 8), FOUR(d, 12), FOUR(d, 16), FOUR(d, 20),
             FOUR(d, 24), FOUR(d, 28));
#endif
}

// Bytes from the first pixel of a stage to the input of a piece; where weights are filled up with zeros, of any pixel.
__device__ __forceinline__ constexpr u32 place(int piece) {
    const int tap = piece / PLANES < 49 ? piece / PLANES : 48;
    return (u32)(piece % PLANES * PLANE + tap / 7 * HALO + tap % 7 + piece / PLANES / 49) * 16;
}

// `flow` is null for the layers with ReLU, whose result is `out`; the last layer adds its two channels to `flow`.
extern "C" __global__ void __launch_bounds__(THREADS)
    flow_conv(const Vec* x, const Vec* weight, const float* bias, Vec* out, float* flow, int height, int width) {
    extern __shared__ __align__(128) unsigned char memory[];  // the tile, then two stages of weights
    const u32 tile = shared_address(memory), weights = tile + PLANES * PLANE * 16;
    const int columns = (width + TILE - 1) / TILE, tiles = columns * ((height + TILE - 1) / TILE);
    const int y0 = blockIdx.x % tiles / columns * TILE, x0 = blockIdx.x % tiles % columns * TILE;
    const long long image = blockIdx.x / tiles, size = (long long)height * width;
    x += image * size * PLANES;
    load_stage(weights, weight, 0);
    // The pixel behind the last is read where weights are filled up, and must be a number.
    for (int i = threadIdx.x; i < PLANE * PLANES; i += THREADS) {
        const int pixel = i / PLANES, plane = i % PLANES, y = y0 - 3 + pixel / HALO, xx = x0 - 3 + pixel % HALO;
        const bool inside = pixel < HALO * HALO && y >= 0 && y < height && xx >= 0 && xx < width;
        copy_async(tile + (plane * PLANE + pixel) * 16, x + (inside ? (y * (long long)width + xx) * PLANES + plane : 0),
                   inside);
    }
    close_copies();

    // Each group of four warps has 16 rows by 8 columns, as two blocks of 8x8.
    const int group = threadIdx.x / 128;
    float d[2][SUMS];
#pragma unroll 1
    for (int stage = 0; stage < STAGES; stage++) {
        asm volatile("cp.async.wait_group 0;\nfence.proxy.async.shared::cta;\n" ::: "memory");
        __syncthreads();
        asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory");
        const u32 stage_weights = weights + stage % 2 * STAGE_BYTES, my_tile = tile + (stage * HALO + 8 * group) * 16;
#pragma unroll
        for (int step = 0; step < PIECES_OF_STAGE / 2; step++) {
            const u64 b = descriptor(stage_weights + 2 * step * PIECE_BYTES, PIECE_BYTES, 128);
#pragma unroll
            for (int block = 0; block < 2; block++) {
                const u32 first = my_tile + place(2 * step) + 8 * block * HALO * 16;
                const u32 to_second = place(2 * step + 1) - place(2 * step);
                multiply(d[block], descriptor(first, to_second, HALO * 16), b, stage + step);
            }
        }
        asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory");
        if (stage + 1 < STAGES) {
            // The buffer of the next stage was that of the one before this.
            asm volatile("wgmma.wait_group.sync.aligned 1;\n" ::: "memory");
            __syncthreads();
            load_stage(weights + (stage + 1) % 2 * STAGE_BYTES, weight, stage + 1);
            close_copies();
        }
    }
    asm volatile("wgmma.wait_group.sync.aligned 0;\n" ::: "memory");
    __syncthreads();

    // d[block][4 j + e]: row 8 block + 2 warp + e / 2 of the tile, column 8 group + lane / 4, channel
    // 8 j + lane % 4 * 2 + e % 2; 16 rows of the product are two rows of 8 pixels.
    const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32;
#if OUTPUTS == 8
    if (lane % 4) return;  // there are two channels, which the first lane of four has
#pragma unroll
    for (int block = 0; block < 2; block++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
            const int y = y0 + 8 * block + 2 * warp + e / 2, xx = x0 + 8 * group + lane / 4;
            if (y < height && xx < width) flow[(image * 2 + e % 2) * size + (long long)y * width + xx] +=
                d[block][e] + bias[e % 2];
        }
#else
#pragma unroll
    for (int j = 0; j < OUTPUTS / 8; j++) {
        const int channel = 8 * j + lane % 4 * 2;
        const float b0 = bias[channel], b1 = bias[channel + 1];
#pragma unroll
        for (int block = 0; block < 2; block++)
#pragma unroll
            for (int e = 0; e < 4; e += 2) {
                const int pixel = (8 * block + 2 * warp + e / 2) * TILE + 8 * group + lane / 4;
                const float v0 = d[block][4 * j + e] + b0, v1 = d[block][4 * j + e + 1] + b1;
                // NaN stays NaN, so that an overflow is not lost.
                *(u32*)(memory + pixel * STAGED + channel * 2) = pack(v0 < 0.f ? 0.f : v0, v1 < 0.f ? 0.f : v1);
            }
    }
    __syncthreads();
    out += image * size * (OUTPUTS / 8);
    for (int i = threadIdx.x; i < TILE * TILE * (OUTPUTS / 8); i += THREADS) {
        const int pixel = i / (OUTPUTS / 8), chunk = i % (OUTPUTS / 8);
        const int y = y0 + pixel / TILE, xx = x0 + pixel % TILE;
        if (y < height && xx < width)
            out[((long long)y * width + xx) * (OUTPUTS / 8) + chunk] =
                *(const Vec*)(memory + pixel * STAGED + chunk * 16);
    }
#endif
}

#endif
