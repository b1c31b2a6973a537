// What surrounds the convolutions of 64 channels: warping, enlarging, what deformable convolutions read, the frame's
// part of the first convolution, and the last convolution on top of the enlarged frame.
//
// Frames and flow are planar in float32.

// 8 channels of an image, sampled bilinearly at a position in pixels, zeros outside; NaN where there is no position.
__device__ __forceinline__ void sample(float (&sum)[8], const Vec* image, float x, float y, int height, int width,
                                       int chunks) {
    const float nothing = 0.f * (x + y);  // NaN if either is infinite or NaN, so that an overflow is not lost
#pragma unroll
    for (int i = 0; i < 8; i++) sum[i] = nothing;
    // Beyond the border by one pixel or by a million is the same, but for the conversion to integers.
    x = fminf(fmaxf(x, -2.f), width + 1.f), y = fminf(fmaxf(y, -2.f), height + 1.f);
    const float left = floorf(x), top = floorf(y), fx = x - left, fy = y - top;
#pragma unroll
    for (int corner = 0; corner < 4; corner++) {
        const int cx = (int)left + corner % 2, cy = (int)top + corner / 2;
        if (cx < 0 || cx >= width || cy < 0 || cy >= height) continue;
        const float weight = (corner % 2 ? fx : 1.f - fx) * (corner / 2 ? fy : 1.f - fy);
        const Vec v = image[((long long)cy * width + cx) * chunks];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            sum[2 * i] += weight * unpack(v.part[i]);
            sum[2 * i + 1] += weight * unpack(v.part[i] >> 16);
        }
    }
}

__device__ __forceinline__ Vec packed(const float (&values)[8], float factor) {
    Vec v;
#pragma unroll
    for (int i = 0; i < 4; i++) v.part[i] = pack(factor * values[2 * i], factor * values[2 * i + 1]);
    return v;
}

// x sampled at position + flow; a thread has 8 channels of a pixel.
extern "C" __global__ void __launch_bounds__(256)
    warp(const Vec* x, const float* flow, Vec* out, int height, int width, int chunks) {
    const long long size = (long long)height * width, index = (long long)blockIdx.x * 256 + threadIdx.x;
    if (index >= size * chunks) return;
    const int pixel = (int)(index / chunks), chunk = (int)(index % chunks);
    x += blockIdx.y * size * chunks, flow += blockIdx.y * size * 2, out += blockIdx.y * size * chunks;
    float sum[8];
    sample(sum, x + chunk, pixel % width + flow[pixel], pixel / width + flow[size + pixel], height, width, chunks);
    out[index] = packed(sum, 1.f);
}

// Where between which two pixels of a side a pixel of the enlarged side lies, as F.interpolate has it.
struct Between {
    int first, second;
    float share;
};
__device__ __forceinline__ Between between(int position, float scale, int side) {
    const float at = fmaxf((position + 0.5f) / scale - 0.5f, 0.f);
    const int first = min((int)at, side - 1);
    return {first, min(first + 1, side - 1), at - first};
}

// x enlarged twofold, times a factor; a thread has 8 channels of a pixel of the result.
extern "C" __global__ void __launch_bounds__(256)
    enlarge(const Vec* x, Vec* out, int images, int height, int width, int chunks, float factor) {
    const long long index = (long long)blockIdx.x * 256 + threadIdx.x;
    if (index >= 4LL * images * height * width * chunks) return;
    const int chunk = (int)(index % chunks), column = (int)(index / chunks % (2 * width));
    const int row = (int)(index / chunks / (2 * width) % (2 * height));
    x += index / chunks / (4LL * height * width) * height * width * chunks + chunk;
    const Between down = between(row, 2.f, height), across = between(column, 2.f, width);
    float sum[8] = {};
#pragma unroll
    for (int corner = 0; corner < 4; corner++) {
        const int cy = corner / 2 ? down.second : down.first, cx = corner % 2 ? across.second : across.first;
        const float vertical = corner / 2 ? down.share : 1.f - down.share;
        const float weight = vertical * (corner % 2 ? across.share : 1.f - across.share);
        const Vec v = x[((long long)cy * width + cx) * chunks];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            sum[2 * i] += weight * unpack(v.part[i]);
            sum[2 * i + 1] += weight * unpack(v.part[i] >> 16);
        }
    }
    out[index] = packed(sum, factor);
}

__device__ __forceinline__ float number(const u16* p) { return unpack(*p); }
__device__ __forceinline__ float number(const float* p) { return *p; }

// What a deformable 3x3 convolution multiplies: for `count` pixels from `first` on, each tap's channels, displaced and
// weighted, those of a group alike. `guide` plus its bias has 27 channels a group: displacements (vertical, horizontal)
// of the taps of each group, and then factors before their sigmoid. If groups belong to several `states`, displacements
// are bounded by `reach` and added to the flow to the state of the group. A thread has a tap and 8 channels of a pixel.
struct Deformed {
    int height, width, chunks, groups, states;
    float reach;
};
template <class T>
__device__ __forceinline__ void deform(const Vec* x, const T* guide, const float* bias, const float* flow, Vec* out,
                                       int first, int count, const Deformed& of) {
    const long long index = (long long)blockIdx.x * 256 + threadIdx.x;
    const int samples = 9 * of.chunks, size = of.height * of.width;
    if (index >= (long long)count * samples) return;
    const int pixel = first + (int)(index / samples), tap = (int)(index % samples) / of.chunks;
    const int chunk = (int)(index % of.chunks), group = chunk / (of.chunks / of.groups);
    const int image = pixel / size, at = pixel % size;
    const T* mine = guide + (long long)pixel * 27 * of.groups;
    const int vertical = group * 18 + 2 * tap, weight = of.groups * 18 + group * 9 + tap;
    float down = number(mine + vertical) + bias[vertical], across = number(mine + vertical + 1) + bias[vertical + 1];
    if (of.states) {
        const int state = group / (of.groups / of.states);
        const float* to = flow + ((long long)image * of.states + state) * 2 * size + at;
        down = of.reach * tanhf(down) + to[size], across = of.reach * tanhf(across) + to[0];
    }
    const float y = at / of.width + tap / 3 - 1 + down, xx = at % of.width + tap % 3 - 1 + across;
    const float factor = 1.f / (1.f + __expf(-(number(mine + weight) + bias[weight])));
    float sum[8];
    sample(sum, x + (long long)image * size * of.chunks + chunk, xx, y, of.height, of.width, of.chunks);
    out[index] = packed(sum, factor);
}
extern "C" __global__ void __launch_bounds__(256)
    deform_by_half(const Vec* x, const u16* guide, const float* bias, const float* flow, Vec* out, int first, int count,
                   int height, int width, int chunks, int groups, int states, float reach) {
    deform(x, guide, bias, flow, out, first, count, {height, width, chunks, groups, states, reach});
}
extern "C" __global__ void __launch_bounds__(256)
    deform_by_float(const Vec* x, const float* guide, const float* bias, const float* flow, Vec* out, int first,
                    int count, int height, int width, int chunks, int groups, int states, float reach) {
    deform(x, guide, bias, flow, out, first, count, {height, width, chunks, groups, states, reach});
}

// 3x3 convolution from the 3 channels of a frame to 64, in float32 but for the result; a thread has 32 channels of a
// pixel, those of a warp the same ones.
extern "C" __global__ void __launch_bounds__(128)
    frame_conv(const float* frame, const float4* weight, Vec* out, int height, int width) {
    __shared__ float4 weights[27 * 16];  // [input channel][tap][output channels by four]
    for (int i = threadIdx.x; i < 27 * 16; i += 128) weights[i] = weight[i];
    __syncthreads();
    const int size = height * width, pixel = blockIdx.x * 64 + threadIdx.x % 64, half = threadIdx.x / 64;
    if (pixel >= size) return;
    frame += (long long)blockIdx.y * 3 * size, out += (long long)blockIdx.y * size * 8;
    const int y = pixel / width, x = pixel % width;
    float values[27];  // all on their way at once
#pragma unroll
    for (int tap = 0; tap < 27; tap++) {
        const int ty = y + tap % 9 / 3 - 1, tx = x + tap % 3 - 1;
        const bool inside = ty >= 0 && ty < height && tx >= 0 && tx < width;
        values[tap] = inside ? frame[(long long)(tap / 9) * size + ty * width + tx] : 0.f;
    }
    float4 sum[8] = {};
#pragma unroll
    for (int tap = 0; tap < 27; tap++)
#pragma unroll
        for (int i = 0; i < 8; i++) {
            const float4 w = weights[tap * 16 + half * 8 + i];
            const float value = values[tap];
            sum[i].x += value * w.x, sum[i].y += value * w.y, sum[i].z += value * w.z, sum[i].w += value * w.w;
        }
#pragma unroll
    for (int i = 0; i < 4; i++) {
        Vec v;
        v.part[0] = pack(sum[2 * i].x, sum[2 * i].y), v.part[1] = pack(sum[2 * i].z, sum[2 * i].w);
        v.part[2] = pack(sum[2 * i + 1].x, sum[2 * i + 1].y), v.part[3] = pack(sum[2 * i + 1].z, sum[2 * i + 1].w);
        out[(long long)pixel * 8 + half * 4 + i] = v;
    }
}

// The last convolution, 3x3 from 64 channels to 3, plus the bilinear enlargement of a frame. So few output channels
// would leave the tensor cores waiting for the same pixels nine times; instead each pixel of the tile and its border is
// multiplied once by the 27 weights of all taps and outputs, and the products are summed up where they belong.

#define TILE 16
#define HALO (TILE + 2)
#define PLANE (HALO * HALO + 1)
#define PARTS ((HALO * HALO + 63) / 64)  // of 16 pixels for each of four warps

extern "C" __global__ void __launch_bounds__(128)
    last_conv(const Vec* x, const Vec* weight, const float* bias, const float* frame, float* out, int height,
              int width, int scale) {
    extern __shared__ __align__(128) unsigned char memory[];  // the tile, then [8 input channels][output and tap]
    const u32 tile = shared_address(memory), weights = tile + 8 * PLANE * 16;
    const int columns = (width + TILE - 1) / TILE;
    const int y0 = blockIdx.x / columns * TILE, x0 = blockIdx.x % columns * TILE;
    const long long size = (long long)height * width;
    x += blockIdx.y * size * 8, out += blockIdx.y * size * 3;
    const int lr_height = height / scale, lr_width = width / scale;
    frame += (long long)blockIdx.y * 3 * lr_height * lr_width;
    for (int i = threadIdx.x; i < 8 * 32; i += 128) copy_async(weights + i * 16, weight + i, true);
    for (int i = threadIdx.x; i < HALO * HALO * 8; i += 128) {
        const int pixel = i >> 3, chunk = i & 7, y = y0 - 1 + pixel / HALO, xx = x0 - 1 + pixel % HALO;
        const bool inside = y >= 0 && y < height && xx >= 0 && xx < width;
        copy_async(tile + (chunk * PLANE + pixel) * 16, x + (inside ? ((long long)y * width + xx) * 8 + chunk : 0),
                   inside);
    }
    asm volatile("cp.async.commit_group;\ncp.async.wait_group 0;\n" ::: "memory");
    __syncthreads();

    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    u32 b[4][2][4];  // [16 input channels][16 products]
#pragma unroll
    for (int k = 0; k < 4; k++)
#pragma unroll
        for (int i = 0; i < 2; i++)
            load_matrices(b[k][i], weights + ((2 * k + lane / 8 % 2) * 32 + 16 * i + lane / 16 * 8 + lane % 8) * 16);
    float d[PARTS][4][4] = {};
#pragma unroll
    for (int part = 0; part < PARTS; part++) {
        const int first = (4 * part + warp) * 16;
        if (first >= HALO * HALO) break;
#pragma unroll
        for (int k = 0; k < 4; k++) {
            u32 a[4];
            // Behind the last pixel of a plane are numbers of no use, whose products nobody reads.
            load_matrices(a, tile + ((2 * k + lane / 16) * PLANE + first + lane % 16) * 16);
#pragma unroll
            for (int j = 0; j < 4; j++) multiply(d[part][j], a, b[k][j / 2][j % 2 * 2], b[k][j / 2][j % 2 * 2 + 1]);
        }
    }
    __syncthreads();

    // d[part][j][e]: pixel 16 (4 part + warp) + lane / 4 + e / 2 * 8, product 8 j + lane % 4 * 2 + e % 2.
    float* products = (float*)memory;
#pragma unroll
    for (int part = 0; part < PARTS; part++)
#pragma unroll
        for (int j = 0; j < 4; j++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
                const int pixel = (4 * part + warp) * 16 + lane / 4 + e / 2 * 8, product = 8 * j + lane % 4 * 2 + e % 2;
                if (pixel < HALO * HALO && product < 27) products[pixel * 27 + product] = d[part][j][e];
            }
    __syncthreads();

    for (int i = threadIdx.x; i < TILE * TILE * 3; i += 128) {
        const int channel = i / (TILE * TILE), row = i / TILE % TILE, column = i % TILE;
        const int y = y0 + row, xx = x0 + column;
        if (y >= height || xx >= width) continue;
        float sum = bias[channel];
#pragma unroll
        for (int tap = 0; tap < 9; tap++)
            sum += products[((row + tap / 3) * HALO + column + tap % 3) * 27 + channel * 9 + tap];
        const Between down = between(y, (float)scale, lr_height), across = between(xx, (float)scale, lr_width);
        const float* plane = frame + (long long)channel * lr_height * lr_width;
        const float* upper = plane + (long long)down.first * lr_width;
        const float* lower = plane + (long long)down.second * lr_width;
        sum += (1.f - down.share) * ((1.f - across.share) * upper[across.first] + across.share * upper[across.second]) +
               down.share * ((1.f - across.share) * lower[across.first] + across.share * lower[across.second]);
        out[channel * size + (long long)y * width + xx] = sum;
    }
}
