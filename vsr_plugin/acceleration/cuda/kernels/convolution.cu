// A 3x3 convolution of 64 channels, stride 1, zeros outside, with bias, residual, leaky ReLU before or after it, and
// pixel shuffle; sums are float32. A block computes a tile of 16 (or 15) rows of 16 pixels of 64 output channels; in
// shared memory the tile has a border of one pixel.
//
// Compile with WGMMA as 0 (mma.sync, compute capability 8.0) or 1 (wgmma, 9.0a), and ROWS, the rows of a tile: 16, or
// with wgmma 15.

#define COLUMNS 16
#define HALO (COLUMNS + 2)
#define PLANE ((ROWS + 2) * HALO + 1)   // pixels from plane to plane
#define TILE_BYTES (8 * PLANE * 16)
#define TAP_BYTES (64 * 64 * 2)
#define STAGED 144                      // bytes from pixel to pixel of the staged result

#if WGMMA
#define THREADS 256
#else
#define THREADS 128
#endif
#define PASS (THREADS / 8 / COLUMNS)    // rows that are stored at once, 16 bytes by each thread

__device__ __forceinline__ float activate(float value, float slope) { return value > 0.f ? value : slope * value; }
__device__ __forceinline__ u32 add2(u32 a, u32 b, float slope) {
    return pack(activate(unpack(a) + unpack(b), slope), activate(unpack(a >> 16) + unpack(b >> 16), slope));
}

// A tile of an image.
struct Tile {
    long long image;
    int height, width, y0, x0;
};

__device__ __forceinline__ Tile tile_of(int number, int height, int width) {
    const int across = (width + COLUMNS - 1) / COLUMNS, down = (height + ROWS - 1) / ROWS;
    const int place = number % (across * down);
    return {number / (across * down), height, width, place / across * ROWS, place % across * COLUMNS};
}

__device__ __forceinline__ void load_tile(u32 to, const Vec* x, Tile tile) {
    x += tile.image * tile.height * tile.width * 8;
    for (int i = threadIdx.x; i < (ROWS + 2) * HALO * 8; i += THREADS) {
        const int pixel = i >> 3, chunk = i & 7;
        const int y = tile.y0 - 1 + pixel / HALO, xx = tile.x0 - 1 + pixel % HALO;
        const bool inside = y >= 0 && y < tile.height && xx >= 0 && xx < tile.width;
        const Vec* from = x + (inside ? ((long long)y * tile.width + xx) * 8 + chunk : 0);
        copy_async(to + (chunk * PLANE + pixel) * 16, from, inside);
    }
}

// Weights of one tap, in the order in which they are stored: [8 input channels][output channel][input channel].
__device__ __forceinline__ void load_tap(u32 to, const Vec* weight, int tap) {
    for (int i = threadIdx.x; i < TAP_BYTES / 16; i += THREADS)
        copy_async(to + i * 16, weight + tap * (TAP_BYTES / 16) + i, true);
}

__device__ __forceinline__ void wait_for_previous_kernel() { asm volatile("griddepcontrol.wait;\n" ::: "memory"); }
__device__ __forceinline__ void let_next_kernel_begin() { asm volatile("griddepcontrol.launch_dependents;\n" ::); }

// Where a thread's 16 bytes of each pass go in an image of `shuffle` times the size, in which group g of 64 channels
// has a place of its own among the shuffle^2 pixels that one becomes.
struct Target {
    long long first, step;
    int rows;  // that the thread stores
};

__device__ __forceinline__ Target target_of(Tile tile, int group, int shuffle) {
    const int row = threadIdx.x / 8 / COLUMNS, y = tile.y0 + row, x = tile.x0 + threadIdx.x / 8 % COLUMNS;
    const long long width = (long long)tile.width * shuffle;
    const long long at = (tile.image * tile.height + y) * shuffle + group / shuffle;
    const int rows = min(ROWS, tile.height - tile.y0) - row;
    return {(at * width + (long long)x * shuffle + group % shuffle) * 8 + threadIdx.x % 8, PASS * shuffle * width * 8,
            x < tile.width ? (rows + PASS - 1) / PASS : 0};
}

#define PASSES ((ROWS + PASS - 1) / PASS)

__device__ __forceinline__ void load_residual(Vec (&values)[PASSES], const Vec* residual, Target target) {
    if (!residual) return;
#pragma unroll
    for (int k = 0; k < PASSES; k++)
        if (k < target.rows) values[k] = residual[target.first + k * target.step];
}

__device__ __forceinline__ void store(const unsigned char* staged, const Vec (&values)[PASSES], bool adds, Vec* out,
                                      Target target, float slope_of_sum) {
#pragma unroll
    for (int k = 0; k < PASSES; k++) {
        if (k >= target.rows) break;
        Vec v = *(const Vec*)(staged + (threadIdx.x / 8 + k * PASS * COLUMNS) * STAGED + threadIdx.x % 8 * 16);
        if (adds) {
            const Vec r = values[k];
#pragma unroll
            for (int i = 0; i < 4; i++) v.part[i] = add2(v.part[i], r.part[i], slope_of_sum);
        }
        out[target.first + k * target.step] = v;
    }
}

#if WGMMA

#define FOUR(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define EIGHT(d, i) FOUR(d, i), FOUR(d, i + 4)

// 64 output channels by 8 ROWS pixels by 16 input channels.
__device__ __forceinline__ void multiply(float (&d)[64], u64 weights, u64 pixels, int add) {
#define START "{\n.reg .pred p;\nsetp.ne.b32 p, "
#define SHAPE ", 0;\nwgmma.mma_async.sync.aligned.m64n"
#define TYPES "k16.f32." NAME "." NAME " {"
#define FIRST_60                                                                                                \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, "                  \
    "%20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, "        \
    "%40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59"
#define ALL_60                                                                                                  \
    EIGHT(d, 0), EIGHT(d, 8), EIGHT(d, 16), EIGHT(d, 24), EIGHT(d, 32), EIGHT(d, 40), EIGHT(d, 48), FOUR(d, 56)
#if ROWS == 16
    asm volatile(START "%66" SHAPE "128" TYPES FIRST_60 ", %60, %61, %62, %63}, %64, %65, p, 1, 1, 0, 0;\n}\n"
                 : ALL_60, FOUR(d, 60)
                 : "l"(weights), "l"(pixels), "r"(add));
#else
    asm volatile(START "%62" SHAPE "120" TYPES FIRST_60 "}, %60, %61, p, 1, 1, 0, 0;\n}\n"
                 : ALL_60
                 : "l"(weights), "l"(pixels), "r"(add));
#endif
}

// Four 8x8 pieces, each transposed.
__device__ __forceinline__ void stage(u32 to, u32 a, u32 b, u32 c, u32 d) {
    asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};\n" ::"r"(to), "r"(a), "r"(b),
                 "r"(c), "r"(d));
}

// The weights of each tap are one copy, at the end of which a barrier of its own opens.
__device__ __forceinline__ void load_weights(u32 to, u32 barriers, const Vec* weight) {
    if (threadIdx.x == 0) {
        for (int tap = 0; tap < 9; tap++)
            asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;\n" ::"r"(barriers + 8 * tap) : "memory");
        asm volatile("fence.mbarrier_init.release.cluster;\nfence.proxy.async.shared::cta;\n" ::: "memory");
        for (int tap = 0; tap < 9; tap++) {
            const u32 barrier = barriers + 8 * tap;
            asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\n" ::"r"(barrier), "r"(TAP_BYTES)
                         : "memory");
            asm volatile(
                "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];\n" ::"r"(
                    to + tap * TAP_BYTES),
                "l"(weight + tap * (TAP_BYTES / 16)), "r"(TAP_BYTES), "r"(barrier)
                : "memory");
        }
    }
}

__device__ __forceinline__ void wait_for_weights(u32 barriers, int tap) {
    u32 there;
    do {
        asm volatile(
            "{\n.reg .pred p;\nmbarrier.try_wait.parity.shared::cta.b64 p, [%1], 0;\nselp.u32 %0, 1, 0, p;\n}\n"
            : "=r"(there)
            : "r"(barriers + 8 * tap)
            : "memory");
    } while (!there);
}

template <int TAP>
__device__ __forceinline__ void compute_tap(float (&d)[64], u32 tile, u32 weights, u32 barriers, int half) {
    wait_for_weights(barriers, TAP);
    asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory");
#pragma unroll
    for (int k = 0; k < 4; k++) {
        const u32 pixels = tile + (2 * k * PLANE + (TAP / 3) * HALO + TAP % 3 + 8 * half) * 16;
        multiply(d, descriptor(weights + TAP * TAP_BYTES + 2 * k * 1024, 1024, 128),
                 descriptor(pixels, PLANE * 16, HALO * 16), TAP + k);
    }
    asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory");
}

extern "C" __global__ void __launch_bounds__(THREADS, 2)
    conv3x3(const Vec* x, const Vec* weight, const float* bias, const Vec* residual, Vec* out, int height, int width,
            int shuffle, float slope, float slope_of_sum) {
    extern __shared__ __align__(128) unsigned char memory[];
    const u32 tile_memory = shared_address(memory), weights = tile_memory + TILE_BYTES;
    const u32 barriers = weights + 9 * TAP_BYTES;
    const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32, half = threadIdx.x / 128, group = blockIdx.y;
    weight += group * 9 * (TAP_BYTES / 16);
    const float bias_low = bias[group * 64 + 16 * warp + lane / 4];
    const float bias_high = bias[group * 64 + 16 * warp + lane / 4 + 8];
    let_next_kernel_begin();
    load_weights(weights, barriers, weight);
    wait_for_previous_kernel();
    const Tile tile = tile_of(blockIdx.x, height, width);
    load_tile(tile_memory, x, tile);
    close_copies();
    wait_copies<0>();
    asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory");
    __syncthreads();
    float d[64];
    compute_tap<0>(d, tile_memory, weights, barriers, half);
    compute_tap<1>(d, tile_memory, weights, barriers, half);
    compute_tap<2>(d, tile_memory, weights, barriers, half);
    compute_tap<3>(d, tile_memory, weights, barriers, half);
    compute_tap<4>(d, tile_memory, weights, barriers, half);
    compute_tap<5>(d, tile_memory, weights, barriers, half);
    compute_tap<6>(d, tile_memory, weights, barriers, half);
    compute_tap<7>(d, tile_memory, weights, barriers, half);
    compute_tap<8>(d, tile_memory, weights, barriers, half);
    const Target target = target_of(tile, group, shuffle);
    Vec values[PASSES];
    load_residual(values, residual, target);  // while the tensor cores work
    asm volatile("wgmma.wait_group.sync.aligned 0;\n" ::: "memory");
    __syncthreads();

    // d[4 j + e]: row j of the tile, column 8 half + lane % 4 * 2 + e % 2, channel 16 warp + lane / 4 + e / 2 * 8.
#pragma unroll
    for (int j = 0; j < 16; j += 2) {
        u32 piece[4];
#pragma unroll
        for (int e = 0; e < 4; e++) {
            const float b = e % 2 ? bias_high : bias_low;
            const int first = 4 * j + 2 * e;
            piece[e] = first < 4 * ROWS ? pack(activate(d[first] + b, slope), activate(d[first + 1] + b, slope)) : 0;
        }
        const int row = j + lane / 16, channel = 16 * warp + lane / 8 % 2 * 8;
        stage(tile_memory + (row * COLUMNS + 8 * half + lane % 8) * STAGED + channel * 2, piece[0], piece[1], piece[2],
              piece[3]);
    }
    __syncthreads();
    store(memory, values, residual != nullptr, out, target, slope_of_sum);
}

#else

#define STAGES 3

extern "C" __global__ void __launch_bounds__(THREADS, 2)
    conv3x3(const Vec* x, const Vec* weight, const float* bias, const Vec* residual, Vec* out, int height, int width,
            int shuffle, float slope, float slope_of_sum) {
    extern __shared__ __align__(128) unsigned char memory[];
    const u32 tile_memory = shared_address(memory), weights = tile_memory + TILE_BYTES;
    const int group = blockIdx.y;
    const Tile tile = tile_of(blockIdx.x, height, width);
    weight += group * 9 * (TAP_BYTES / 16);
    bias += group * 64;
    load_tap(weights, weight, 0);
    load_tile(tile_memory, x, tile);
    close_copies();
    load_tap(weights + TAP_BYTES, weight, 1);
    close_copies();

    // Each warp has four rows of the tile.
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const u32 my_pixels = tile_memory + (lane / 16 * PLANE + 4 * warp * HALO + lane % 16) * 16;
    const u32 my_weights = lane / 8 % 2 * 1024 + (lane % 8 + lane / 16 * 8) * 16;
    float d[4][8][4] = {};
    for (int tap = 0; tap < 9; tap++) {
        wait_copies<STAGES - 2>();
        __syncthreads();
        if (tap + 2 < 9) load_tap(weights + (tap + 2) % STAGES * TAP_BYTES, weight, tap + 2);
        close_copies();
        const u32 pixels = my_pixels + (tap / 3 * HALO + tap % 3) * 16;
        const u32 taps_weights = weights + tap % STAGES * TAP_BYTES + my_weights;
#pragma unroll
        for (int k = 0; k < 4; k++) {
            u32 a[4][4], b[4][4];
#pragma unroll
            for (int i = 0; i < 4; i++) load_matrices(a[i], pixels + (2 * k * PLANE + i * HALO) * 16);
#pragma unroll
            for (int i = 0; i < 4; i++) load_matrices(b[i], taps_weights + 2 * k * 1024 + i * 256);
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int j = 0; j < 8; j++) multiply(d[i][j], a[i], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
        }
    }
    __syncthreads();

    // d[i][j][e]: row 4 warp + i of the tile, column lane / 4 + e / 2 * 8, channel 8 j + lane % 4 * 2 + e % 2.
#pragma unroll
    for (int j = 0; j < 8; j++) {
        const int channel = 8 * j + lane % 4 * 2;
        const float b0 = bias[channel], b1 = bias[channel + 1];
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int e = 0; e < 4; e += 2) {
                const int pixel = (4 * warp + i) * COLUMNS + lane / 4 + e / 2 * 8;
                *(u32*)(memory + pixel * STAGED + channel * 2) =
                    pack(activate(d[i][j][e] + b0, slope), activate(d[i][j][e + 1] + b1, slope));
            }
    }
    const Target target = target_of(tile, group, shuffle);
    Vec values[PASSES];
    load_residual(values, residual, target);
    __syncthreads();
    store(memory, values, residual != nullptr, out, target, slope_of_sum);
}

#endif
